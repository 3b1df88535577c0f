"""`oyster-provider service ...`: the systemd unit and its account, placed and removed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import DryRunOption, JsonOption, YesOption, agree, print_json, say
from faults import Refused, RetryLater, UsageFault

app = typer.Typer(no_args_is_help=True, help="Run as a systemd service.")

UNIT = "oyster-provider.service"
_SOURCES = Path(__file__).parent.parent / "systemd"
_PLACES = {
    UNIT: Path("etc/systemd/system") / UNIT,
    "sysusers.conf": Path("etc/sysusers.d/oyster-provider.conf"),
    "tmpfiles.conf": Path("etc/tmpfiles.d/oyster-provider.conf"),
}
_PACKAGED = Path("usr/lib/systemd/system") / UNIT
_DEFAULT_PROGRAM = "/usr/local/bin/oyster-provider"
# The unit's ProtectHome= and PrivateTmp= hide these from the service.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 # names, not files

RootOption = Annotated[
    Path, typer.Option("--root", help="Another root folder that is there: an image's, a test's.")
]
ProgramOption = Annotated[
    Path | None, typer.Option("--program", help="What the unit runs; this program when absent.")
]


@app.command()
def install(
    root: RootOption = Path("/"),
    program: ProgramOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Place the unit, its account and its folders; start nothing."""
    _check_root(root)
    if packaged(root):
        raise Refused(
            f"the package placed the unit ({root / _PACKAGED}); there is nothing to install: "
            f"systemctl enable --now {UNIT}"
        )
    chosen = _program(program, root)
    files = {_PLACES[name]: text for name, text in _texts(chosen).items()}
    commands = _after_install() if _is_live(root) else []
    if dry_run or not as_json:
        _show(root, files, commands, "write", as_json=as_json)
    if dry_run:
        return
    agree("Install?", yes=yes, as_json=as_json)
    for place, text in files.items():
        _write(root / place, text)
    _run_all(commands)
    if as_json:
        _show(root, files, commands, "write", as_json=True)
    else:
        say(f"installed; start it with: systemctl enable --now {UNIT}")


@app.command()
def reload(
    pid: Annotated[int, typer.Option("--pid", help="The agent's process; $MAINPID in the unit.")],
) -> None:
    """Have a running agent read its file anew; fails with its reason. The unit's ExecReload."""
    from agent.process.reloading import ask

    ask(pid)


@app.command()
def uninstall(
    root: RootOption = Path("/"),
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what install placed; configuration, credentials and journal stay."""
    _check_root(root)
    files = {place: "" for place in _PLACES.values() if (root / place).exists()}
    commands = [["systemctl", "disable", "--now", UNIT]] if files and _is_live(root) else []
    if dry_run or not as_json:
        _show(root, files, commands, "remove", as_json=as_json)
    if dry_run:
        return
    agree("Uninstall? Running enclaves stay as they are.", yes=yes, as_json=as_json)
    _run_all(commands)
    for place in files:
        (root / place).unlink(missing_ok=True)
    if commands:
        _run_all([["systemctl", "daemon-reload"]])
    if as_json:
        _show(root, files, commands, "remove", as_json=True)
    else:
        say("removed; /etc/oyster-provider and /var/lib/oyster-provider are still there")


def packaged(root: Path) -> bool:
    """Whether a Debian package brought unit, account and folders: one in /etc would hide its own,
    and stay as it is when the package is upgraded."""
    return (root / _PACKAGED).is_file()


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise UsageFault(f"--root {root}: no such folder; make it first")


def outdated(root: Path) -> list[str] | None:
    """The installed files that `install` would write differently; None when no unit is there.

    The program's place in the unit is the installer's choice, and so no difference.
    """
    try:
        unit = (root / _PLACES[UNIT]).read_text(encoding="utf-8")
    except OSError:
        return None
    program = next(
        (line[10:].split(" ")[0] for line in unit.splitlines() if line.startswith("ExecStart=")), ""
    )
    wanted = _texts(Path(program or _DEFAULT_PROGRAM))
    return [str(root / _PLACES[name]) for name in wanted if not _is_there(root, name, wanted[name])]


def _is_there(root: Path, name: str, text: str) -> bool:
    try:
        return (root / _PLACES[name]).read_text(encoding="utf-8") == text
    except OSError:
        return False


def _texts(program: Path) -> Mapping[str, str]:
    texts = {name: (_SOURCES / name).read_text(encoding="utf-8") for name in _PLACES}
    return {**texts, UNIT: texts[UNIT].replace(_DEFAULT_PROGRAM, str(program))}


def _program(given: Path | None, root: Path) -> Path:
    """The absolute path of the program the unit shall run. Raises UsageFault."""
    program = given or Path(shutil.which("oyster-provider", path=_near()) or _DEFAULT_PROGRAM)
    if not program.is_absolute() or any(c.isspace() or c in "%$\"'\\;" for c in str(program)):
        raise UsageFault(f"--program {program}: give an absolute path without spaces or % $ quotes")
    if _is_live(root) and not program.is_file():
        raise UsageFault(f"{program} is not there; name the program with --program")
    if _is_live(root) and str(program).startswith(tuple(f"{place}/" for place in _HIDDEN)):
        raise UsageFault(f"the service cannot see {program}; install the program in /opt or /usr")
    return program


def _near() -> str:
    return str(Path(sys.executable).parent)


def _is_live(root: Path) -> bool:
    return root.resolve() == Path("/")


def _after_install() -> list[list[str]]:
    return [
        ["systemd-sysusers", str(Path("/") / _PLACES["sysusers.conf"])],
        ["systemd-tmpfiles", "--create", str(Path("/") / _PLACES["tmpfiles.conf"])],
        ["systemctl", "daemon-reload"],
    ]


def _show(
    root: Path,
    files: Mapping[Path, str],
    commands: Sequence[Sequence[str]],
    verb: str,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json({verb: [str(root / place) for place in files], "run": list(commands)})
        return
    for place in files:
        say(f"{verb}  {root / place}")
    for command in commands:
        say(f"run    {' '.join(command)}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}; run this as root") from error


def _run_all(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        try:
            done = subprocess.run(  # noqa: S603 # fixed words and the paths above, no shell
                command, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RetryLater(f"{command[0]} did not run: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RetryLater(f"{' '.join(command)} failed: {said[-1] if said else done.returncode}")
