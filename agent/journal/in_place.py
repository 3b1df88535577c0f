"""Whether the journal's file is still the one that was opened.

A file that somebody moves or deletes goes on taking lines for as long as a process has it open, and
commands beside it make another one: what they order is heard by nobody.
"""

from __future__ import annotations

from pathlib import Path


class InPlace:
    """The file at a path when this is made; `path` None: a server, which looks after itself."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened = self._there()

    def is_gone(self) -> bool:
        """Whether another file is there by now, or none. Raises OSError: nobody can tell."""
        return self._there() != self._opened

    def _there(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found and (found.st_dev, found.st_ino)
