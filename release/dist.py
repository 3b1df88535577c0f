"""`make dist`: sdist, wheel and SBOM of this commit, each built twice and compared.

The bill of materials is CycloneDX's, of an environment with exactly what the Debian package ships.
SHA256SUMS lists what is there; it is what a release signs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import program
from faults import Refused
from release import wheels
from release.moment import epoch

SUMS = "SHA256SUMS"
Files = Mapping[str, bytes]


def twice(build: Callable[[], Files]) -> Files:
    """What `build` makes, when it makes the same bytes again. Raises Refused, naming the others."""
    first, second = build(), build()
    different = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    if different:
        raise Refused(f"not reproducible: {', '.join(different)} differ between two builds")
    return first


def packages() -> Files:
    """The sdist of the tree and the wheel of that sdist."""
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, str(program.HOME))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def bill(wheel: Path) -> Files:
    """CycloneDX's bill of materials of what the wheel needs, with the versions that are shipped."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        _run(sys.executable, "-m", "venv", "--without-pip", str(venv))
        python = venv / "bin/python"
        wheels.install(python, [wheel, *wheels.of_this_python().iterdir()])
        name = f"{program.DISTRIBUTION}-{program.version()}.cdx.json"
        place = Path(folder) / name
        _run(
            *(sys.executable, "-m", "cyclonedx_py", "environment", str(python)),
            *("--pyproject", str(program.HOME / "pyproject.toml"), "--mc-type", "application"),
            *("--output-reproducible", "--output-format", "JSON", "--output-file", str(place)),
        )
        return {name: place.read_bytes()}


def write(folder: Path, files: Files) -> None:
    """Put the files into the folder and bring its sums up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / SUMS).write_text("\n".join(sums(folder)) + "\n", encoding="utf-8")


def sums(folder: Path) -> list[str]:
    """The lines of SHA256SUMS, as sha256sum(1) checks them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]


def wheel_of(folder: Path) -> Path:
    """The wheel that lies there; built when none does."""
    if not list(folder.glob("*.whl")):
        write(folder, twice(packages))
    return next(iter(folder.glob("*.whl")))


def _run(*command: str) -> None:
    """Raises Refused with the command's last words when it fails."""
    done = subprocess.run(  # noqa: S603 # fixed words and our own folders
        command,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Refused(f"{' '.join(command[1:4])} failed: {said}")
