"""The Debian package for the machine: built once for a state of the tree, under several versions.

The one before is built of the last commit whose journal had an older schema, by that commit's own
code; it takes minutes, so it is kept in the cache, and CI goes without.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time
from functools import cache
from pathlib import Path

import program
from devnet.kept import once
from release import deb, dist
from release.wheels import REQUIREMENTS
from tests.real import roots

# What `built` writes; the tree's own code, in the walk; the version that it is upgraded to.
OLD, OURS, NEW = "0.0.1", "0.0.2", "0.0.3"
_MIGRATIONS = "agent/journal/migrations/versions"
_HEADER = 60
_DAY = 86_400.0


def built() -> Path:
    """The package of this tree as version OLD; kept under the digest of what is in it."""
    _, content = wheel()
    parts = sorted((program.HOME / "release/debian").iterdir())
    said = [content, REQUIREMENTS.read_bytes(), *(part.read_bytes() for part in parts)]
    digest = hashlib.sha256(b"".join(said)).hexdigest()[:16]
    place = program.HOME / f"build/real/{digest}.deb"
    _forget(place)
    return once(place, lambda work: _build(content, work))


@cache
def wheel() -> tuple[str, bytes]:
    """The file name of this tree's wheel, and its content."""
    return next((name, file) for name, file in dist.packages().items() if name.endswith(".whl"))


def _build(content: bytes, work: Path) -> Path:
    place = work / "oyster_provider-0.1.0-py3-none-any.whl"
    place.write_bytes(content)
    (package,) = deb.build(place, OLD, level=1).values()
    made = work / "made.deb"
    made.write_bytes(package)
    return made


def _forget(place: Path) -> None:
    """Packages of other states of the tree, but for those that another run may be about to read."""
    for old in place.parent.glob("*.deb"):
        if old != place and time.time() - old.stat().st_mtime > _DAY:
            old.unlink(missing_ok=True)


def before() -> Path | None:
    """The package of the version before as OLD; None where the clone or CI's time has it not."""
    changes = () if "CI" in os.environ else _git("log", "--format=%H^", "--", _MIGRATIONS).split()
    commit = next((_git("rev-parse", each) for each in changes if _is_older(each)), "")
    if not commit:
        return None
    place = roots.cache() / f"before-{commit[:12]}.deb"
    return once(place, lambda work: _build_of(commit, work))


def _is_older(commit: str) -> bool:
    """Whether its journal is brought up to this tree's by steps that it lacks: not one that had
    others, which came to nothing."""
    ours = {file.name for file in (program.HOME / _MIGRATIONS).glob("[0-9]*.py")}
    there = _git("ls-tree", "--name-only", f"{commit}:{_MIGRATIONS}").split()
    return {name for name in there if name[0].isdigit()} < ours if there else False


_SAY = """
import sys
from pathlib import Path
from release import deb, dist
made = dist.packages()
wheel = next(name for name in made if name.endswith(".whl"))
place = Path(sys.argv[1]) / wheel
place.write_bytes(made[wheel])
place.with_name("made.deb").write_bytes(next(iter(deb.build(place, sys.argv[2]).values())))
"""


def _build_of(commit: str, work: Path) -> Path:
    """By that commit's own code, in a clone of its own; wheels that are the same are shared."""
    tree = work / "tree"
    _git("clone", "--quiet", "--shared", "--no-checkout", str(program.HOME), str(tree))
    _git("-C", str(tree), "checkout", "--quiet", commit)
    wheels = program.HOME / "build/wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (tree / "build").mkdir()
    (tree / "build/wheels").symlink_to(wheels)
    words = [sys.executable, "-c", _SAY, str(work), OLD]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return work / "made.deb"


def _git(*words: str) -> str:
    """What it says; nothing where there is no such commit, or no clone at all."""
    command = ["git", *words]
    done = subprocess.run(command, cwd=program.HOME, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def renumbered(package: Path, version: str) -> bytes:
    """The same package under another version: deb(5), of which only the control changes."""
    words = ["dpkg-deb", "--ctrl-tarfile", str(package)]
    control = subprocess.run(words, capture_output=True, check=True).stdout
    members = dict(_members(package.read_bytes()))
    (name,) = [each for each in members if each.startswith("control.tar")]
    out = [b"!<arch>\n"]
    for each, content in members.items():
        changed = each == name
        label = "control.tar" if changed else each
        out.append(_member(label, _with_version(control, version) if changed else content))
    return b"".join(out)


def _with_version(control: bytes, version: str) -> bytes:
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(control)) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for info in old:
            file = old.extractfile(info)
            content = file.read() if file else b""
            if info.name == "./control":
                content = content.replace(
                    f"Version: {OLD}\n".encode(), f"Version: {version}\n".encode()
                )
                info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _members(archive: bytes) -> list[tuple[str, bytes]]:
    found, at = list[tuple[str, bytes]](), 8
    while at < len(archive):
        header = archive[at : at + _HEADER]
        size = int(header[48:58])
        found.append(
            (header[:16].decode().rstrip(" /"), archive[at + _HEADER : at + _HEADER + size])
        )
        at += _HEADER + size + size % 2
    return found


def _member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)
