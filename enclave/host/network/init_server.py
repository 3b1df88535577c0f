"""What a standard image asks its host for at its start: HTTP/1.1 on vsock 3:1300.

Paths and status codes are those of Marlin's images: `/instance/ip`, `/oyster/init-params` (200 even
when empty), `/oyster/job`, and `/oyster/extra-init-params` (500, since there are none). One answer
that is not 200 ends such an image, so the server is up before its enclave, and serves nothing else.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enclave.host.network.loop import READ, WRITE, Loop
from enclave.host.network.orders import Serving
from enclave.host.network.wires import Wires, peer_cid

PORT = 1300
MOST_ASKING = 16
ASK_SECONDS = 10.0
HEAD_BYTES = 8 << 10
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            500: "Internal Server Error"}  # fmt: skip


class Unverified(Exception):
    """The params on disk are not those that were ordered."""


def contents(serving: Serving) -> Mapping[str, bytes]:
    """What is served, by path. Raises OSError, Unverified."""
    params = Path(serving.params).read_bytes() if serving.params else b""
    if hashlib.sha256(params).hexdigest() != serving.sha256:
        raise Unverified("the init params have another digest than desired.json says")
    return {
        "/instance/ip": serving.address.encode(),
        "/oyster/init-params": params,
        "/oyster/job": serving.job.encode(),
    }


def answer(head: bytes, served: Mapping[str, bytes]) -> bytes:
    """The whole response to a request's head."""
    status, body = _found(head, served)
    kind = b"application/octet-stream" if status == 200 else b"text/plain"
    lines = (
        b"HTTP/1.1 %d %s" % (status, _REASONS[status].encode()),
        b"Content-Type: " + kind,
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    )
    no_body = head.startswith(b"HEAD ")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if no_body else body)


def _found(head: bytes, served: Mapping[str, bytes]) -> tuple[int, bytes]:
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return 400, b"not a request of HTTP/1.1\n"
    if words[0] not in (b"GET", b"HEAD"):
        return 405, b"only GET\n"
    path = words[1].partition(b"?")[0].decode("latin-1")
    if path == "/oyster/extra-init-params":
        return 500, b"no extra init params\n"
    if path not in served:
        return 404, b"not served here\n"
    return 200, served[path]


def whole(head: bytes) -> bool:
    """Whether the head of a request has come."""
    return b"\r\n\r\n" in head


@dataclass
class _Asking:
    """One connection; it has until `until` for its question and the answer."""

    sock: socket.socket
    until: float
    head: bytes = b""
    left: bytes = b""
    events: int = 0


class InitServer:
    """Serves one enclave, known by its context id. For the loop's thread."""

    def __init__(
        self, loop: Loop, wires: Wires, clock: Callable[[], float], cid: int, serving: Serving
    ) -> None:
        self._loop, self._wires, self._clock = loop, wires, clock
        self._cid, self._serving = cid, serving
        self._listener: socket.socket | None = None
        self._served: Mapping[str, bytes] = {}
        self._asking: dict[socket.socket, _Asking] = {}
        self.problem: str | None = None
        self.answered = 0

    @property
    def ready(self) -> bool:
        """Whether an enclave may be started."""
        return self._listener is not None

    def tick(self, now: float) -> None:
        """Listen, when what is to be served is verified; end who takes too long."""
        if self._listener is None:
            self._open()
        for one in [one for one in self._asking.values() if now >= one.until]:
            self._end(one)

    def _open(self) -> None:
        try:
            self._served = contents(self._serving)
            self._listener = self._wires.listen_vsock(PORT)
        except (OSError, Unverified) as error:
            self.problem = f"cannot serve the init params: {error}"
            return
        self.problem = None
        self._loop.watch(self._listener, 0, READ, self._accept)

    def _accept(self, _: int) -> None:
        if self._listener is None:
            return
        try:
            sock, address = self._listener.accept()
        except OSError:  # gone again, or no descriptor: it asks once more
            return
        if peer_cid(address) not in (None, self._cid) or len(self._asking) >= MOST_ASKING:
            sock.close()
            return
        sock.setblocking(False)
        one = self._asking[sock] = _Asking(sock, self._clock() + ASK_SECONDS)
        self._watch(one, READ)

    def _watch(self, one: _Asking, events: int) -> None:
        self._loop.watch(one.sock, one.events, events, lambda _: self._talk(one))
        one.events = events

    def _talk(self, one: _Asking) -> None:
        if one.sock not in self._asking:
            return
        try:
            done = self._read(one) if one.events == READ else self._write(one)
        except BlockingIOError:
            return
        except OSError:
            done = True
        if done:
            self._end(one)

    def _read(self, one: _Asking) -> bool:
        got = one.sock.recv(HEAD_BYTES)
        one.head += got
        if not got or len(one.head) > HEAD_BYTES:
            return True
        if whole(one.head):
            one.left = answer(one.head, self._served)
            self._watch(one, WRITE)
        return False

    def _write(self, one: _Asking) -> bool:
        one.left = one.left[one.sock.send(one.left) :]
        if not one.left:
            self.answered += 1
            one.sock.shutdown(socket.SHUT_WR)
        return not one.left

    def _end(self, one: _Asking) -> None:
        self._watch(one, 0)
        del self._asking[one.sock]
        one.sock.close()

    def close(self) -> None:
        """Another enclave, or none."""
        for one in list(self._asking.values()):
            self._end(one)
        if self._listener is not None:
            self._loop.watch(self._listener, READ, 0, self._accept)
            self._listener.close()
