"""What a part of the devnet has to tell whoever looks at it: lines of a file, each said once.

Errors are no notices: a part that can't go on ends, and `devnet status` names it.
"""

from __future__ import annotations

from pathlib import Path

FILE = "notices"


def say(file: Path, line: str) -> None:
    """Add the line, unless it is there. Processes may do so at the same time: one short write."""
    if line not in read(file):
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")


def read(file: Path) -> list[str]:
    """All of them, the oldest first."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def of(directory: Path) -> list[str]:
    """Those of the devnet in that folder."""
    return read(directory / "aws" / FILE)
