"""The program as a whole: it starts fast, completes words, and fails in one line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import program
from oyster_provider.__main__ import main

from .program import ROOT, oyster

pytestmark = pytest.mark.integration

COMMANDS = (
    "attestation", "capacity", "cloud", "contracts", "demo", "devnet", "doctor", "exit", "image",
    "init", "jobs", "keys", "offers", "register", "report", "run", "service", "stake", "status",
    "unstake",
)  # fmt: skip


def test_help__every_command__is_there_with_a_sentence() -> None:
    shown = oyster("--help").stdout
    for command in COMMANDS:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"│ {command} ")]
        assert len(line.strip("│ ").split()) > 3, command


def test_help__cold_start__imports_little() -> None:
    """Time depends on the machine; what is imported does not. 0.35 s is measured in bench/."""
    code = "import cli, sys; print(len(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("un", {"unstake"}),
        ("offers ", {"set", "remove", "list", "rules"}),
        ("devnet job f", {"fund", "fault"}),
        ("jobs show --j", {"--json"}),
    ],
)
def test_completion__after_a_few_letters__offers_what_fits(words: str, offered: set[str]) -> None:
    environ = {
        "_OYSTER_PROVIDER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"oyster-provider {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    code = "import sys; sys.argv = ['oyster-provider']; import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize(
    "words", [("nothing",), ("offers", "sett"), ("stake",), ("jobs", "show", "x")]
)
def test_program__words_it_does_not_know__exit_2_without_a_traceback(
    words: tuple[str, ...],
) -> None:
    done = oyster(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_ctrl_c__while_it_loads__ends_it_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "cli", Broken("cli"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def test_completion__where_it_can_t_be_written__is_said_in_a_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    words = shlex.join(program.command("--install-completion"))
    done = subprocess.run(  # the shell is found among its parents
        ["bash", "-c", f"{words}; exit $?"], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: completion can't be installed: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&- <&-", 0, ""),
        (">/dev/full", 4, "error: what is printed can't be written: No space left on device\n"),
    ],
)
def test_streams__closed_or_full__are_no_bug(streams: str, code: int, said: str) -> None:
    words = shlex.join(program.command("runbook", "gas-low"))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{words} {streams}"], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, said)


def test_folder__that_one_is_in_is_gone__is_said_in_a_line(tmp_path: Path) -> None:
    words = shlex.join(program.command("status", "-c", "config.toml"))
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f"rmdir {shlex.quote(str(gone))} && {words}"], cwd=gone,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = "error: the folder that one is in is gone: cd to another\n"
    assert (done.returncode, done.stderr) == (2, said)
