"""Where the log goes, so that it holds nothing up: whoever reads it may stand still, or be gone.

A pipe whose reader stands still (a container's log driver, a terminal that was stopped) would keep
the loop waiting in the middle of a turn, and one whose reader is gone (`| tee`) would end the agent
by a bug. Here a line waits a moment and is then left out; how many were, the next one says.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TextIO

PATIENCE_SECONDS = 0.1  # for which the first line waits; those after it do not, until one is taken
PIECE_BYTES = select.PIPE_BUF


class LogStream:
    """A stream's descriptor, as a log writes to it: each line by one `write`. One thread at a time.

    `lost`: how many lines were left out since one was taken.
    """

    def __init__(self, stream: TextIO) -> None:
        self.lost = 0
        self._fd = stream.fileno()
        self._put = _at_once(self._fd)
        self._encoding = stream.encoding
        self._torn = False  # the last line ended in its middle

    def write(self, text: str) -> int:
        """All of it, or as much as is taken in time. Raises nothing: nobody is there to be told."""
        data = text.encode(self._encoding, "backslashreplace")
        left = b"\n" + data if self._torn else data
        try:
            while left:
                self._wait()
                left = left[self._put(left[:PIECE_BYTES]) :]
                self._torn = bool(left)
        except OSError:
            self.lost += 1
        else:
            self.lost = 0
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def _wait(self) -> None:
        """Raises BlockingIOError: it takes nothing in time."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0 if self.lost else PATIENCE_SECONDS * 1000):
            raise BlockingIOError


def _at_once(fd: int) -> Callable[[bytes], int]:
    """Writes what there is room for now, also where poll(2) finds less than that. The descriptor's
    own mode is that of all who have it (a shell, too), so a pipe or a terminal is opened anew."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):
        return partial(_send, fd)
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        with suppress(OSError):  # no /proc, or another account's terminal: as it is
            return _Anew(fd).write
    return partial(os.write, fd)


def _send(fd: int, data: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as to:
        return to.send(data, socket.MSG_DONTWAIT)


class _Anew:
    """A descriptor of its own for what another one leads to; closed when nobody has it any more."""

    def __init__(self, fd: int) -> None:
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        weakref.finalize(self, os.close, self._fd)

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)
