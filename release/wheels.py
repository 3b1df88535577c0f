"""The wheels that a package carries, by the digests of requirements.txt, for several Pythons.

Downloaded once and kept in build/wheels under the digest of what decides them. A dependency that
is published as source only has to be pure Python: it is built here once, for all.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.utils import canonicalize_name

import program
from devnet.kept import once
from faults import Refused, RetryLater

REQUIREMENTS = program.HOME / "requirements.txt"
THIS_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_KEPT = program.HOME / "build/wheels"
# From manylinux1's glibc to Debian 12's (PEP 600).
_GLIBC = range(5, 37)


def of_this_python() -> Path:
    """A folder with all that the program needs on the Python that runs this."""
    return _once(THIS_PYTHON, _build)


def of_python(version: str) -> Path:
    """The same for another Python ("3.13") on this machine's architecture and Debian 12's glibc."""
    built = of_this_python()
    if version == THIS_PYTHON:
        return built
    return _once(version, lambda part: _download(version, built, part))


def install(python: Path, files: Iterable[Path]) -> None:
    """Put wheels into that Python's environment, from the disk alone."""
    with _beside(files) as (names, links):
        _pip("--python", str(python), "install", *_OFFLINE, "--find-links", links, *names)


def unpack(files: Iterable[Path], target: Path) -> None:
    """Lay wheels out in a folder of packages, as the format says, without their programs.

    Raises Refused for one that brings more than packages: nobody looked at where that belongs.
    """
    for file in sorted(files):
        with zipfile.ZipFile(file) as wheel:
            names = wheel.namelist()
            kept = [name for name in names if ".data/" not in name.partition("/")[0] + "/"]
            strange = {name.split("/")[1] for name in names if name not in kept} - {"scripts"}
            if strange:
                raise Refused(f"{file.name} brings {', '.join(sorted(strange))}")
            wheel.extractall(target, kept)


_OFFLINE = ("--no-index", "--no-deps", "--no-compile")


@contextmanager
def _beside(files: Iterable[Path]) -> Iterator[tuple[Sequence[str], str]]:
    """Wheels in one folder, to be named as NAME==VERSION: pip writes down the path of a file."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for file in sorted(files):
            shutil.copy2(file, folder)
            names.append("==".join(file.name.split("-")[:2]))
        yield names, folder


def _build(part: Path) -> None:
    _pip("wheel", "--require-hashes", "-r", str(REQUIREMENTS), "-w", str(part))


def _download(version: str, built: Path, part: Path) -> None:
    """What is published as wheels, by its digests; what had to be built here is pure and serves."""
    pins = REQUIREMENTS.read_text(encoding="utf-8")
    ours = [file for file in built.iterdir() if _digest(file) not in pins]
    names = {canonicalize_name(file.name.split("-")[0]) for file in ours}
    published = [entry for entry in entries(pins) if canonicalize_name(_name(entry)) not in names]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("".join(published))
        wanted.flush()
        words = ("--require-hashes", "--no-deps", "-r", wanted.name, "-d", str(part))
        _pip("download", *_for(version), *words)
    for file in ours:
        if not file.name.endswith("-none-any.whl"):
            raise Refused(f"{file.name} is published as source only and not pure: name a wheel")
        shutil.copy2(file, part)


def entries(requirements: str) -> list[str]:
    """One text for each requirement, with the lines of its digests."""
    kept = [line for line in requirements.splitlines(keepends=True) if line[0] not in "#\n"]
    starts = [n for n, line in enumerate(kept) if not line[0].isspace()]
    ends = [*starts[1:], len(kept)]
    return ["".join(kept[start:end]) for start, end in zip(starts, ends, strict=True)]


def _name(entry: str) -> str:
    return entry.partition("==")[0].partition("[")[0].strip()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _once(version: str, make: Callable[[Path], None]) -> Path:
    """The kept folder, made when it is missing."""
    digest = _digest(REQUIREMENTS)
    tag = f"cp{version.replace('.', '')}-{platform.machine()}"

    def made(work: Path) -> Path:
        make(work / "wheels")
        return work / "wheels"

    return once(_KEPT / f"{digest[:16]}-{tag}", made)


def _for(version: str) -> list[str]:
    tags = [f"manylinux_2_{minor}" for minor in _GLIBC] + ["manylinux1", "manylinux2014"]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_{platform.machine()}")]
    pure = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
    return [*pure, *platforms]


def _pip(*words: str) -> None:
    """Raises RetryLater with pip's last words: what it downloads may be there later."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 # ours
    if done.returncode:
        raise RetryLater(f"pip {words[0]} failed: {done.stderr.strip()[-800:]}")
