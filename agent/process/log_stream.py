"""Where the log goes, so that it holds nothing up: whoever reads it may stand still, or be gone.

A pipe whose reader stands still (a container's log driver, a terminal that was stopped) would keep
the loop waiting in the middle of a turn, and one whose reader is gone (`| tee`) would end the agent
by a bug. Here a line waits a moment and is then left out; how many were, the next one says.
"""

from __future__ import annotations

import os
import select
from typing import TextIO

PATIENCE_SECONDS = 0.1  # for which the first line waits; those after it do not, until one is taken
PIECE_BYTES = select.PIPE_BUF  # what poll(2) finds room for in a pipe goes in without waiting


class LogStream:
    """A stream's descriptor, as a log writes to it: each line by one `write`. One thread at a time.

    `lost`: how many lines were left out since one was taken.
    """

    def __init__(self, stream: TextIO) -> None:
        self.lost = 0
        self._fd = stream.fileno()
        self._encoding = stream.encoding
        self._torn = False  # the last line ended in its middle

    def write(self, text: str) -> int:
        """All of it, or as much as is taken in time. Raises nothing: nobody is there to be told."""
        data = text.encode(self._encoding, "backslashreplace")
        left = b"\n" + data if self._torn else data
        try:
            while left:
                self._wait()
                left = left[os.write(self._fd, left[:PIECE_BYTES]) :]
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
