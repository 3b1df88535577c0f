"""The least of an HTTP/1.1 server on the loop: one GET a connection, one answer or what follows.

Bounds for strangers: so many connections, so long for a question and its answer, so much that may
wait for one that follows. Where no place is left a newcomer takes one as in a forwarded port
(`shares`), the oldest of the address that has most: who only follows can sit there for ever, and
keeps nobody else out. Who has to go is told so. A question that the answerer breaks on ends its
own connection: the process carries everybody's.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from enclave.host.network.loop import READ, WRITE, Loop
from enclave.host.network.shares import Lane

ASK_SECONDS = 10.0
HEAD_BYTES = 8 << 10
# A follower that reads no faster than this much behind is let go.
BEHIND_BYTES = 2 << 20
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}
# A named event, which a browser's EventSource hands to nobody who did not ask for it.
_CUT = (
    b"event: cut\ndata:all places here are taken, and no address has more of them than yours: this"
    b" one is another reader's now\n\n"
)


@dataclass(frozen=True)
class Answer:
    """`follows`: the connection stays, and gets what is published from then on."""

    status: int
    body: bytes
    kind: str = "text/plain"
    follows: bool = False

    def bytes(self, head_only: bool) -> bytes:
        """As it goes over the wire; without a length where more follows."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", f"Content-Type: {self.kind}"]
        if not self.follows:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += ["Access-Control-Allow-Origin: *", "Connection: close", "", ""]
        return "\r\n".join(lines).encode() + (b"" if head_only else self.body)


def answered(head: bytes, respond: Callable[[str], Answer]) -> tuple[bytes, bool]:
    """The response to a request's head, and whether more follows; `respond` gets path and query."""
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return Answer(400, b"not a request of HTTP/1.1\n").bytes(head_only=False), False
    if words[0] not in (b"GET", b"HEAD"):
        return Answer(405, b"only GET\n").bytes(head_only=False), False
    found, head_only = respond(words[1].decode("latin-1")), words[0] == b"HEAD"
    return found.bytes(head_only), found.follows and not head_only


@dataclass(eq=False)
class _Asking:
    """One connection; it has until `until` for its question and the answer."""

    sock: socket.socket
    host: str
    until: float
    head: bytes = b""
    left: bytes = b""
    events: int = 0
    follows: bool = False


class Server:
    """`respond` answers a path; `admits` says of a peer's address whether it may ask."""

    def __init__(
        self,
        loop: Loop,
        clock: Callable[[], float],
        respond: Callable[[str], Answer],
        *,
        most: int,
        admits: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        self._loop, self._clock, self._respond = loop, clock, respond
        self._most, self._admits = most, admits
        self._listeners: list[socket.socket] = []
        self._asking: dict[socket.socket, _Asking] = {}
        # What goes through a connection does not make it younger here: who follows can go on
        # elsewhere from any line.
        self._places: Lane[_Asking] = Lane()
        self._broke = False

    @property
    def listens(self) -> bool:
        return bool(self._listeners)

    def open(self, listeners: Iterable[socket.socket]) -> None:
        """Accept from these, which are its own from now on."""
        for listener in listeners:
            self._listeners.append(listener)
            self._loop.watch(listener, 0, READ, partial(self._accept, listener))

    def tick(self, now: float) -> None:
        """End who takes too long."""
        for one in [one for one in self._asking.values() if now >= one.until]:
            self._end(one)

    def publish(self, data: bytes) -> None:
        """To all who follow."""
        for one in [one for one in self._asking.values() if one.follows]:
            if len(one.left) > BEHIND_BYTES:
                self._end(one)
            else:
                one.left += data
                self._watch(one, READ | WRITE)

    def close(self) -> None:
        """No listener and no connection any more."""
        for one in list(self._asking.values()):
            self._end(one)
        for listener in self._listeners:
            self._loop.watch(listener, READ, 0, self._talked)
            listener.close()
        self._listeners = []

    def _accept(self, listener: socket.socket, _: int) -> None:
        if listener not in self._listeners:
            return
        try:
            sock, address = listener.accept()
        except OSError:  # gone again, or no descriptor: it asks once more
            return
        sock.setblocking(False)
        host, now = _host(address), self._clock()
        if not self._admits(address) or not self._has_room(host, now):
            sock.close()
            return
        one = self._asking[sock] = _Asking(sock, host, now + ASK_SECONDS)
        self._places.join(one, host, now)
        self._watch(one, READ)

    def _has_room(self, host: str, now: float) -> bool:
        """Whether one from there may come in, in another's place if need be."""
        if len(self._asking) < self._most:
            return True
        loser = self._places.victim(host, now)
        if loser is not None:
            self._cut(loser)
        return loser is not None

    def _cut(self, one: _Asking) -> None:
        """Told to one that follows, behind what it was not sent yet, as far as it goes out."""
        with suppress(OSError):
            if one.follows:
                one.sock.send(one.left + _CUT)
        self._end(one)

    def _watch(self, one: _Asking, events: int) -> None:
        self._loop.watch(one.sock, one.events, events, lambda ready: self._talk(one, ready))
        one.events = events

    def _talked(self, _: int) -> None:
        """Nothing is watched by it."""

    def _talk(self, one: _Asking, events: int) -> None:
        if one.sock not in self._asking:
            return
        try:
            done = events & READ and self._read(one)
            done = done or (events & WRITE and self._write(one))
        except BlockingIOError:
            return
        except OSError:
            done = True
        if done:
            self._end(one)

    def _read(self, one: _Asking) -> bool:
        got = one.sock.recv(HEAD_BYTES)
        if not got or one.follows:
            return not got
        one.head += got
        if b"\r\n\r\n" in one.head:
            one.left, one.follows = answered(one.head, self._responded)
            one.until = float("inf") if one.follows else one.until
            self._watch(one, READ | WRITE if one.follows else WRITE)
        return len(one.head) > HEAD_BYTES

    def _responded(self, path: str) -> Answer:
        try:
            return self._respond(path)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's path led to, a bug's too
            if not self._broke:  # once: strangers must not fill the log
                sys.stderr.write(f"no answer to {path[:100]!r}: {error!r:.200}\n")
            self._broke = True
            return Answer(500, b"cannot be answered\n")

    def _write(self, one: _Asking) -> bool:
        one.left = one.left[one.sock.send(one.left) :]
        if one.left:
            return False
        if one.follows:
            self._watch(one, READ)
            return False
        one.sock.shutdown(socket.SHUT_WR)
        return True

    def _end(self, one: _Asking) -> None:
        self._watch(one, 0)
        del self._asking[one.sock]
        self._places.leave(one, one.host)
        one.sock.close()


def _host(address: Any) -> str:
    """Whose connection it is, for the places; all are one's where addresses tell nothing."""
    return str(address[0]) if isinstance(address, tuple) else ""
