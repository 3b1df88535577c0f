"""The Debian package for the machine: built once for a state of the tree, under two versions."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import program
from release import deb, dist
from release.wheels import REQUIREMENTS

OLD, NEW = "0.0.1", "0.0.2"
_HEADER = 60


def built() -> Path:
    """The package of this tree as version OLD; kept under the digest of what is in it."""
    wheel = next(f for name, f in dist.packages().items() if name.endswith(".whl"))
    parts = sorted((program.HOME / "release/debian").iterdir())
    said = [wheel, REQUIREMENTS.read_bytes(), *(part.read_bytes() for part in parts)]
    digest = hashlib.sha256(b"".join(said)).hexdigest()[:16]
    kept = program.HOME / f"build/real/{digest}.deb"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.iterdir():
            old.unlink()
        place = kept.with_name("oyster_provider-0.1.0-py3-none-any.whl")
        place.write_bytes(wheel)
        (content,) = deb.build(place, OLD, level=1).values()
        place.unlink()
        kept.write_bytes(content)
    return kept


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
