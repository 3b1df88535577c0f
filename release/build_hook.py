"""What hatchling asks before each build: two things that pyproject.toml has no words for.

A wheel gets the single modules of the top level below its one package (`sources` moves folders
only). Wheel and sdist get commit.txt, for `--version`: the wheel of an sdist says what the sdist
says, elsewhere git is asked, and a tree that differs from its commit says so by a `+`. An
editable install gets nothing: it is the tree. Nothing is written into the tree.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "oyster_provider"
_COMMIT = f"{_PACKAGE}/commit.txt"


class BuildHook(BuildHookInterface[Any]):
    """Adds files to what a build includes."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; `version` is "standard" or "editable"."""
        if version == "editable":
            return
        placed, kept = build_data["force_include"], Path(self.root) / _COMMIT
        if self.target_name == "wheel":
            placed.update({name: f"{_PACKAGE}/{name}" for name in self.config["modules"]})
        if self.target_name == "wheel" or not kept.is_file():
            commit = kept if kept.is_file() else self._written(_commit(self.root))
            placed[str(commit)] = _COMMIT

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling after each build."""
        if self._folder is not None:
            self._folder.cleanup()

    def _written(self, commit: str) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="oyster-commit-")
        return _write(Path(self._folder.name) / "commit.txt", commit)


def _write(text: Path, commit: str) -> Path:
    text.write_text(f"{commit}\n", encoding="utf-8")
    text.chmod(0o644)
    return text


def _commit(root: str) -> str:
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = "+" if head and _git(root, "status", "--porcelain") else ""
    return f"{head or 'unknown'}{changed}"


def _git(root: str, *words: str) -> str:
    """Its answer; nothing where there is no git or no checkout."""
    try:
        asked = subprocess.run(  # noqa: S603 # fixed words and the folder that is built
            ["git", "-C", root, *words],  # noqa: S607 # as on PATH
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return asked.stdout.strip()
