"""`make deb`: one Debian package for Debian 12 and 13, built twice and compared.

    python -m release deb [FOLDER]

Below /opt/oyster-provider lies an environment as venv lays it out, with the packages of every
Python that it is for; its python3 is the system's. Which folder of packages counts is decided by
the Python that runs, so an upgrade of Debian needs no other package. Nothing is fetched when it
is installed. Made by dpkg-deb alone: owner root, times of the commit, so the bytes are the same.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import program
from agent.config.template import render
from faults import RetryLater
from release import manual, wheels
from release.moment import epoch

PYTHONS = ("3.11", "3.13")  # of Debian 12 and 13
HOME = Path("opt/oyster-provider")
_PARTS = Path(__file__).parent / "debian"
_SCRIPTS = ("postinst", "prerm", "postrm")
_SYSTEMD = program.HOME / "systemd"
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/oyster-provider",
    "zsh": "usr/share/zsh/vendor-completions/_oyster-provider",
    "fish": "usr/share/fish/vendor_completions.d/oyster-provider.fish",
}
_START = """\
#!/{home}/bin/python3 -I
import sys

from oyster_provider.__main__ import main

sys.argv[0] = "oyster-provider"
main()
"""


def build(wheel: Path, version: str, *, level: int = 9) -> Mapping[str, bytes]:
    """The package of that wheel, under its file name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        _environment(root, wheel)
        for place, content in _files():
            _put(root / place, content)
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/oyster-provider").symlink_to(f"/{HOME}/bin/oyster-provider")
        _control(root, version)
        made = Path(folder) / f"oyster-provider_{version}_{architecture()}.deb"
        _settle(root)
        _run(
            "dpkg-deb",
            "--root-owner-group",
            "-Zzstd",
            f"-z{level}",
            "--build",
            str(root),
            str(made),
        )
        return {made.name: made.read_bytes()}


def architecture() -> str:
    """Debian's name of this machine's."""
    return _run("dpkg", "--print-architecture")


def _environment(root: Path, wheel: Path) -> None:
    """What every Python shares lies once in lib/common; what is compiled, in each one's folder."""
    home = root / HOME
    kept = {version: wheels.of_python(version) for version in PYTHONS}
    names = [{file.name for file in folder.iterdir()} for folder in kept.values()]
    shared = {name for name in set.intersection(*names) if name.endswith("-none-any.whl")}
    first = kept[PYTHONS[0]]
    wheels.unpack([wheel, *(first / name for name in shared)], home / "lib/common")
    for version, folder in kept.items():
        own = [file for file in folder.iterdir() if file.name not in shared]
        packages = home / f"lib/python{version}/site-packages"
        wheels.unpack(own, packages)
        _put(packages / "common.pth", b"../../common\n")
    _put(home / "pyvenv.cfg", b"home = /usr/bin\ninclude-system-site-packages = false\n")
    _put(home / "bin/oyster-provider", _START.format(home=HOME).encode(), mode=0o755)
    (home / "bin/python3").symlink_to("/usr/bin/python3")


def _files() -> Iterator[tuple[str, bytes]]:
    """What lies elsewhere than below /opt."""
    unit = (_SYSTEMD / "oyster-provider.service").read_text(encoding="utf-8")
    unit = unit.replace("/usr/local/bin/oyster-provider", "/usr/bin/oyster-provider")
    yield "usr/lib/systemd/system/oyster-provider.service", unit.encode()
    for kind in ("sysusers", "tmpfiles"):
        content = (_SYSTEMD / f"{kind}.conf").read_bytes()
        yield f"usr/lib/{kind}.d/oyster-provider.conf", content
    yield "usr/share/man/man1/oyster-provider.1.gz", _packed(manual.made().encode())
    for shell, place in _COMPLETIONS.items():
        yield place, _completion(shell)
    doc = "usr/share/doc/oyster-provider"
    yield f"{doc}/copyright", (program.HOME / "LICENSE").read_bytes()
    yield f"{doc}/changelog.gz", _packed((program.HOME / "CHANGELOG.md").read_bytes())
    yield f"{doc}/examples/config.toml", _example()
    for name in ("alerts.yml", "dashboard.json"):
        yield f"{doc}/monitoring/{name}", (program.HOME / "docs/monitoring" / name).read_bytes()


def _example() -> bytes:
    """What `init` writes for somebody who answers with the examples of its own help."""
    answers: dict[str, dict[str, Any]] = {
        "chain": {
            "chain_id": 42161,
            "registry": "0x0000000000000000000000000000000000000000",
            "rpc_urls": ["https://first.example", "https://second.example"],
        },
        "wallet": {
            "keystore_file": "credential:keystore",
            "password_file": "credential:keystore-password",
        },
        "aws": {"regions": ["us-east-1"]},
    }
    return render(answers, [{"type": "us-east-1/c6a.xlarge", "price": "0.17/h"}]).encode()


def _completion(shell: str) -> bytes:
    environ = {**os.environ, "_OYSTER_PROVIDER_COMPLETE": f"source_{shell}"}
    return (_run(*program.command(), environ=environ) + "\n").encode()


def _control(root: Path, version: str) -> None:
    control = (_PARTS / "control").read_text(encoding="utf-8")
    size = -(-sum(path.lstat().st_size for path in _all_files(root)) // 1024)
    for name, value in (("VERSION", version), ("ARCHITECTURE", architecture()), ("SIZE", size)):
        control = control.replace(f"@{name}@", str(value))
    digests = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{path.relative_to(root)}"
        for path in _all_files(root)
        if not path.is_symlink()
    ]
    _put(root / "DEBIAN/control", control.encode())
    _put(root / "DEBIAN/triggers", (_PARTS / "triggers").read_bytes())
    for name in _SCRIPTS:
        _put(root / "DEBIAN" / name, (_PARTS / name).read_bytes(), mode=0o755)
    _put(root / "DEBIAN/md5sums", ("\n".join(digests) + "\n").encode())


def _all_files(root: Path) -> Sequence[Path]:
    return sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())


def _put(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _settle(root: Path) -> None:
    """Nothing that depends on who built it, or when: modes and times."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)


def _run(*command: str, environ: Mapping[str, str] | None = None) -> str:
    """Raises RetryLater with its last words where it fails or is not there."""
    surroundings = {**(environ or os.environ), "SOURCE_DATE_EPOCH": str(epoch())}
    try:
        done = subprocess.run(  # noqa: S603 # fixed words and our own folders
            command, env=surroundings, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise RetryLater(f"{command[0]} does not run here: {error.strerror}") from error
    if done.returncode:
        raise RetryLater(f"{command[0]} failed: {done.stderr.strip()[-800:]}")
    return done.stdout.strip()
