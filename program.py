"""Where this program is: its own folder, how to start a part of it again, and which version it is.

The program's modules (`cli`, `agent`, ...) are the top level of the tree; installed, they all lie
below the one package `oyster_provider`. Whatever starts another process of the program does it
by these commands: they name a file, so neither PYTHONPATH nor the working directory decides which
`cli` or `agent` is meant.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "oyster-provider"
HOME = Path(__file__).parent
_DOOR = HOME if HOME.name == "oyster_provider" else HOME / "oyster_provider"
_GIT_SECONDS = 5.0


def command(*words: str) -> list[str]:
    """The argument vector of `oyster-provider WORDS` on this Python, from this very code."""
    return [sys.executable, str(_DOOR / "__main__.py"), *words]


def module(name: str, *words: str) -> list[str]:
    """The argument vector that runs a module of ours as `python -m` would."""
    return [sys.executable, str(_DOOR / "module.py"), name, *words]


@cache
def version() -> str:
    """The version of this code, as pyproject.toml or the installed distribution says it."""
    if _is_tree():
        project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """The commit that this code was built of, or is checked out; "unknown" where nobody said."""
    written = _DOOR / "commit.txt"
    if written.is_file():
        return written.read_text(encoding="utf-8").strip()
    return _checked_out() if (HOME / ".git").exists() else "unknown"


def _is_tree() -> bool:
    return HOME != _DOOR and (HOME / "pyproject.toml").is_file()


def _checked_out() -> str:
    """Only a tree has a git to ask; that it is not installed there is no error of ours."""
    try:
        asked = subprocess.run(  # noqa: S603 # fixed words and our own folder
            ["git", "-C", str(HOME), "rev-parse", "--short=12", "HEAD"],  # noqa: S607 # as on PATH
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return asked.stdout.strip() or "unknown"
