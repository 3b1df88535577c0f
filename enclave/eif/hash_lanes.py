"""Hashing on several cores: each lane is a queue of work that one thread does in order.

hashlib and zlib release the interpreter's lock, so lanes run in parallel with each other and with
whoever reads the file. A lane does its work in the caller's thread until `start`, because for a
small image threads cost more than they bring. Memory is bounded: a caller that is faster than a
lane waits once `DEPTH` pieces are queued.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, Queue
from typing import TypeAlias

# Pieces queued in one lane before the caller waits: enough to ride out a scheduler's hiccup, and
# 6 MiB with pieces of 1 MiB (lanes share the pieces, they do not copy them).
DEPTH = 6

Work: TypeAlias = Callable[[bytes | memoryview], object]


class Lane:
    """Work done strictly in the order of the `do` calls; not for several callers at once."""

    def __init__(self) -> None:
        self._queue: Queue[tuple[Work, bytes | memoryview] | None] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From here on work is done by a thread of the lane's own; `finish` must follow."""
        if self._thread is None:
            self._queue = Queue(DEPTH)
            # A daemon: an abandoned measurement must not keep the process from ending.
            self._thread = threading.Thread(target=_work, args=(self._queue,), daemon=True)
            self._thread.start()

    def do(self, work: Work, data: bytes | memoryview) -> None:
        """Call `work(data)` after everything before it; `data` must not change any more."""
        if self._queue is None:
            work(data)
        else:
            self._queue.put((work, data))

    def finish(self) -> None:
        """Wait until all work is done and end the thread. Calling it twice is fine."""
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._queue = self._thread = None

    def abandon(self) -> None:
        """Drop what is queued and let the thread end by itself, without waiting for it."""
        if self._queue is not None:
            with contextlib.suppress(Empty):
                while True:
                    self._queue.get_nowait()
            self._queue.put_nowait(None)
        self._queue = self._thread = None


def _work(queue: Queue[tuple[Work, bytes | memoryview] | None]) -> None:
    while (task := queue.get()) is not None:
        work, data = task
        work(data)
        del task, data
