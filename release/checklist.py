"""`make release`: what a release needs, each asked of what is there; what is missing has its line.

It changes nothing and publishes nothing: the last lines say what a person does then.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import program
from release import dist
from release.moment import git

AFTERWARDS = """\
then, by hand:
  git tag -s v{version} && git push origin v{version}
  sign {folder}/SHA256SUMS (gpg --detach-sign --armor) and publish the folder with it
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the list; `todo` is empty where it is done."""

    what: str
    todo: str = ""


def points(folder: Path) -> Iterator[Point]:
    """Every point, in the order in which they are done."""
    version = program.version()
    yield Point(
        "nothing is uncommitted", "commit or drop it" if git("status", "--porcelain") else ""
    )
    yield Point(f"CHANGELOG.md tells of {version}", _changelog(version))
    yield Point(f"the tag v{version} is free or here", _tag(version))
    yield from (Point(f"{folder} has {what}", _made(folder, end)) for what, end in _FILES)
    yield Point("SHA256SUMS is of these files", _sums(folder))
    yield Point("what was built is of this commit", _commit(folder))


_FILES = (
    ("the sdist", ".tar.gz"),
    ("the wheel", ".whl"),
    ("the bill of materials", ".cdx.json"),
    ("the Debian package", ".deb"),
)


def _changelog(version: str) -> str:
    text = (program.HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    if re.search(rf"^## {re.escape(version)}\b", text, re.M):
        return ""
    return f"rename its section Unreleased to {version}, with the date"


def _tag(version: str) -> str:
    known = git("tag", "--list", f"v{version}")
    here = git("tag", "--points-at", "HEAD").split()
    if not known or f"v{version}" in here:
        return ""
    return "it is another commit's: raise project.version in pyproject.toml"


def _made(folder: Path, end: str) -> str:
    return "" if list(folder.glob(f"*{end}")) else "make dist deb"


def _sums(folder: Path) -> str:
    place = folder / dist.SUMS
    if place.is_file() and place.read_text(encoding="utf-8").splitlines() == dist.sums(folder):
        return ""
    return "something else was written there: make dist deb"


def _commit(folder: Path) -> str:
    """By what the wheel itself says."""
    wheels = list(folder.glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            said = archive.read("oyster_provider/commit.txt").decode().strip()
        if said != program.commit():
            return f"the wheel is of {said}: make dist deb"
    return "" if wheels else "make dist deb"


def shown(folder: Path) -> tuple[str, bool]:
    """The list as text, and whether all of it is done."""
    listed = list(points(folder))
    lines = [f"{'todo' if p.todo else 'ok  '}  {p.what}{_because(p)}" for p in listed]
    done = not any(point.todo for point in listed)
    after = AFTERWARDS.format(version=program.version(), folder=folder) if done else ""
    return "\n".join(lines) + "\n" + after, done


def _because(point: Point) -> str:
    return f": {point.todo}" if point.todo else ""
