"""One moment for a release: its commit's, so that the same commit gives the same bytes."""

from __future__ import annotations

import os
import subprocess
from functools import cache

import program


@cache
def epoch() -> int:
    """Seconds: SOURCE_DATE_EPOCH (reproducible-builds.org), else when the commit was made.

    Asked once: a commit while two builds are compared is no difference between them.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given) if given else int(git("log", "-1", "--format=%ct"))


def git(*words: str) -> str:
    """What git says of the tree. Raises CalledProcessError outside of a checkout."""
    return subprocess.run(  # noqa: S603 # fixed words and our own folder
        ["git", "-C", str(program.HOME), *words],  # noqa: S607 # as on PATH
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def released() -> bool:
    """Whether the commit has the tag of its version."""
    return f"v{program.version()}" in git("tag", "--points-at", "HEAD").split()
