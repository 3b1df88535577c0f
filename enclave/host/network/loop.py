"""One selector, its handlers, and thunks from other threads: everything of the process is here."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Handler = Callable[[int], None]


class Loop:
    """For one thread, but for `soon`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._thunks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, READ, self._take)

    def watch(self, sock: socket.socket | int, before: int, wanted: int, handler: Handler) -> None:
        """From watching for `before` to watching for `wanted`; 0 is not at all."""
        if before == wanted:
            return
        if wanted == 0:
            self._selector.unregister(sock)
        elif before == 0:
            self._selector.register(sock, wanted, handler)
        else:
            self._selector.modify(sock, wanted, handler)

    def soon(self, thunk: Callable[[], None]) -> None:
        """Have it called by the loop; from any thread. Of a closed one nothing is called any more:
        a name may be looked up for longer than anybody waits for it."""
        self._thunks.put(thunk)
        try:
            self._waker.send(b"x")
        except BlockingIOError:  # so full that it will wake
            return
        except OSError:
            if self._waker.fileno() >= 0:
                raise

    def turn(self, seconds: float) -> None:
        """Wait for something, at most so long, and handle what came.

        A handler may be called once more after it was unwatched: it knows that it is closed.
        """
        for key, events in self._selector.select(seconds):
            handler: Any = key.data
            handler(events)

    def close(self) -> None:
        """The sockets that are watched are not closed."""
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _take(self, _: int) -> None:
        self._woken.recv(1 << 12)
        while True:
            try:
                thunk = self._thunks.get_nowait()
            except Empty:
                return
            thunk()
