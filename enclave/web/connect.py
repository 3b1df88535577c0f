"""A connection to whichever of a name's addresses takes it first (RFC 8305, "Happy Eyeballs").

A machine may have IPv6 that leads nowhere, and a name an address that is down. Who waits for each
in its turn waits ten seconds for each, at every connection of a fetch.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Final

from enclave.web.guard import LOOK_UP_SECONDS, Guard

NEXT_SECONDS: Final = 0.25  # what one address gets before the next is tried beside it (section 5)
MOST_ADDRESSES: Final = 8  # of a name that a user chose; each holds a socket while it is tried


def connected(addresses: Sequence[str], port: int, seconds: float, guard: Guard) -> socket.socket:
    """The first that is there; `seconds` are given to the last one that was tried. Raises OSError,
    the last one's, and what the guard does."""
    waiting, trying = deque(in_turns(addresses)[:MOST_ADDRESSES]), Trying()
    try:
        until = time.monotonic() + seconds
        while waiting or trying.count:
            if waiting:
                trying.begin(waiting.popleft(), port)
                until = time.monotonic() + seconds
            left = min(until - time.monotonic(), guard.remaining(), LOOK_UP_SECONDS)
            if left <= 0:
                raise trying.fault or TimeoutError(errno.ETIMEDOUT, "timed out")
            if (made := trying.look(min(left, NEXT_SECONDS) if waiting else left)) is not None:
                return made
        raise trying.fault or OSError("it has no address")
    finally:
        trying.close()


def in_turns(addresses: Iterable[str]) -> list[str]:
    """IPv6 and IPv4 by turns, as the resolver's first begins (section 4)."""
    given = list(dict.fromkeys(addresses))
    first = [one for one in given if (":" in one) == (":" in given[0])]
    other = [one for one in given if one not in first]
    return [one for one in chain(*zip_longest(first, other)) if one is not None]


class Trying:
    """Connections that are being made, until one is; `fault` is the last that failed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.fault: OSError | None = None

    @property
    def count(self) -> int:
        """How many are under way."""
        return len(self._selector.get_map())

    def begin(self, address: str, port: int) -> None:
        """One more; what is refused at once is a fault at once."""
        made = None
        try:
            family, kind, _, _, place = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )[0]
            made = socket.socket(family, kind)
            made.setblocking(False)
            made.connect(place)
        except BlockingIOError:
            pass
        except OSError as fault:  # no way to such addresses, or nobody there
            self.fault = fault
            if made is not None:
                made.close()
            return
        assert made is not None
        self._selector.register(made, selectors.EVENT_WRITE)

    def look(self, seconds: float) -> socket.socket | None:
        """One that is there within `seconds`; what failed is let go."""
        for key, _ in self._selector.select(seconds) if self.count else ():
            made = key.fileobj
            assert isinstance(made, socket.socket)
            self._selector.unregister(made)
            code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code:
                return made
            made.close()
            self.fault = OSError(code, os.strerror(code))
        return None

    def close(self) -> None:
        """Let go of those that were not taken."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
