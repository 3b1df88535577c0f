"""A debug enclave's console on disk: a ring of files, so that a restart or a reboot loses nothing.

Each file is named by the number of its first line and holds lines as they are served, `[id] text`.
A full file is followed by a new one, and the oldest goes before there are more than `FILES`; what
a flood costs the disk is known. Of a disk that is full or can't be written the lines are lost, not
the process: they are told again as soon as they can be.
"""

from __future__ import annotations

import errno
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path

FILES = 8
# All together 4 MiB: a hundred boots, or six minutes of a serial console (115,200 baud) that never
# rests; an answer of `/logs/history` can't be larger, and sixteen may be asked for at once.
FILE_BYTES = 512 << 10
# After the disk refused: soon enough to lose little, rare enough to cost nothing.
AGAIN_SECONDS = 5.0
_DIGITS = 20


class ConsoleLog:
    """Below one folder, for one thread. What can't be done is `problem`, never an exception."""

    def __init__(self, folder: Path, *, files: int = FILES, file_bytes: int = FILE_BYTES) -> None:
        self._folder, self._files, self._file_bytes = folder, files, file_bytes
        self._open: int | None = None  # the newest file's descriptor
        self._size = 0
        self._again_at = float("-inf")
        self.problem: str | None = None

    def add(self, lines: list[tuple[int, str]], now: float) -> None:
        """Keep these: each with its number, which stands in its text too."""
        if self.problem is not None and now < self._again_at:
            return
        try:
            for number, text in lines:
                self._write(number, text.encode() + b"\n")
            self.problem = None
        except OSError as error:
            self.close()
            self._again_at = now + AGAIN_SECONDS
            self.problem = f"the console is kept in memory only: {error.strerror}"

    def since(self, number: int, most: int) -> list[str]:
        """Lines of the numbers `number` to `number + most - 1`, as far as they are kept."""
        wanted, paths = range(number, number + most), self._paths()
        begins = [int(path.name) for path in paths]
        first, end = bisect_right(begins, number) - 1, bisect_left(begins, wanted.stop)
        lines = (line for path in paths[max(first, 0) : end] for line in _read(path))
        return [text.decode(errors="replace") for at, text in lines if at in wanted]

    def tail(self, most_bytes: int) -> list[tuple[int, str]]:
        """The newest lines that have so many bytes together, with their numbers."""
        found: list[tuple[int, str]] = []
        for path in reversed(self._paths()):
            for number, text in reversed(list(_read(path))):
                most_bytes -= len(text)
                if most_bytes < 0:
                    return found[::-1]
                found.append((number, text.decode(errors="replace")))
        return found[::-1]

    def close(self) -> None:
        """Its files stay."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _write(self, number: int, data: bytes) -> None:
        if self._open is None or self._size + len(data) > self._file_bytes:
            self._begin(number, len(data))
        assert self._open is not None
        written = os.write(self._open, data)
        if written < len(data):  # half a line: cut off when the file is gone on with
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _begin(self, number: int, size: int) -> None:
        """Go on with the newest file where it has room for so much, else with a new one."""
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = self._paths()
        whole = _whole_bytes(paths[-1]) if paths else self._file_bytes
        if whole + size > self._file_bytes:
            for path in paths[: max(len(paths) + 1 - self._files, 0)]:
                path.unlink()
            paths, whole = [*paths, self._folder / f"{number:0{_DIGITS}}"], 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._open, self._size = os.open(paths[-1], flags, 0o600), whole
        os.ftruncate(self._open, whole)

    def _paths(self) -> list[Path]:
        """Oldest first."""
        try:
            found = [path for path in self._folder.iterdir() if path.name.isdecimal()]
        except OSError:
            return []
        return sorted(path for path in found if len(path.name) == _DIGITS)


def forget(folder: Path) -> None:
    """The job is over, or has no console any more. What can't be removed is tried again later: its
    caller comes by every few seconds."""
    shutil.rmtree(folder, ignore_errors=True)


def _whole_bytes(path: Path) -> int:
    """Of its whole lines: a process that was killed, or a disk that was full, left a half one."""
    return path.read_bytes().rfind(b"\n") + 1


def _read(path: Path) -> Iterator[tuple[int, bytes]]:
    """Its whole lines with their numbers; none of what is no line of this module."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.split(b"\n")[:-1]:
        number = line[1 : line.find(b"]")]
        if line[:1] == b"[" and number.isdigit() and len(number) <= _DIGITS:
            yield int(number), line
