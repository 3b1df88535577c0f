"""The wheels that a package carries: our dependencies at the tested versions, for several Pythons.

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
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import program
from faults import RetryLater

CONSTRAINTS = program.HOME / "constraints.txt"
THIS_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_KEPT = program.HOME / "build/wheels"
# From manylinux1's glibc to Debian 12's (PEP 600).
_GLIBC = range(5, 37)


def of_this_python() -> Path:
    """A folder with all that the program needs on the Python that runs this."""
    return _once(THIS_PYTHON, lambda part: _pip("wheel", *_wanted(), "-w", str(part)))


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


def unpack(version: str, files: Iterable[Path], target: Path) -> None:
    """Put wheels into a folder of packages for that Python, without their programs."""
    words = ("--target", str(target), *_for(version))
    with _beside(files) as (names, links):
        _pip("install", *_OFFLINE, "--find-links", links, *words, *names)
    shutil.rmtree(target / "bin", ignore_errors=True)


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


def _download(version: str, built: Path, part: Path) -> None:
    with tempfile.TemporaryDirectory() as pure:
        for file in built.glob("*-none-any.whl"):
            shutil.copy2(file, pure)
        _pip("download", *_for(version), "--find-links", pure, "-d", str(part), *_wanted())


def _once(version: str, make: Callable[[Path], None]) -> Path:
    """The kept folder, made when it is missing; a make that was broken off leaves none."""
    digest = hashlib.sha256("\n".join([*_requirements(), CONSTRAINTS.read_text()]).encode())
    tag = f"cp{version.replace('.', '')}-{platform.machine()}"
    kept = _KEPT / f"{digest.hexdigest()[:16]}-{tag}"
    if not kept.is_dir():
        part = kept.with_name(f"{kept.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(kept)
    return kept


def _requirements() -> list[str]:
    project = tomllib.loads((program.HOME / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["project"]["dependencies"])


def _wanted() -> list[str]:
    return ["-c", str(CONSTRAINTS), *_requirements()]


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
