"""Two connected sockets as one connection: bytes, half-closes and resets go through as they came.

Plain recv and send through one buffer of the process. splice(2) would save the copy on the TCP
side, but needs two pipes (four descriptors) a connection, Python 3.9 has it only through ctypes,
and vsock has no splice of its own, so the kernel copies there all the same.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from enclave.host.network.loop import READ, WRITE, Loop

# A read takes at most this. What the other side does not take at once waits, and nothing more is
# read until it is gone.
CHUNK_BYTES = 128 << 10
# What may wait in all connections together; beyond it each is read in small pieces.
WAITING_BYTES = 32 << 20
SMALL_BYTES = 4 << 10

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close(2) sends a reset (socket(7))
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Buffer:
    """The one buffer of a process, and how much waits in its connections."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(CHUNK_BYTES))
        self.waiting = 0

    def part(self) -> memoryview:
        """What the next read may fill."""
        return self.view if self.waiting < WAITING_BYTES else self.view[:SMALL_BYTES]


class _End:
    """One of the two sockets: what it still has to take, and what it has said."""

    __slots__ = ("count", "eof", "events", "pending", "shut", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.events = 0
        self.pending: memoryview | None = None  # to be written to it
        self.eof = False  # nothing more comes from it
        self.shut = False  # nothing more goes to it
        self.count = 0  # bytes that came from it


class Joint:
    """`near` was accepted, `far` was connected. `ended` is called once, when both are closed."""

    __slots__ = ("_buffer", "_loop", "_moved", "closed", "ended", "far", "near")

    def __init__(
        self,
        loop: Loop,
        buffer: Buffer,
        near: socket.socket,
        moved: Callable[[Joint], None],
        ended: Callable[[Joint], None],
    ) -> None:
        near.setblocking(False)
        self._loop, self._buffer = loop, buffer
        self.near = _End(near)
        self.far: _End | None = None
        self._moved, self.ended = moved, ended
        self.closed = False

    def connected(self, far: socket.socket) -> None:
        """The other side is there: bytes may flow."""
        for sock in (self.near.sock, far):
            _tuned(sock)
        self.far = _End(far)
        self._watch()

    @property
    def half_closed(self) -> bool:
        return self.far is not None and (self.near.eof or self.far.eof)

    def reset(self) -> None:
        """End both so that neither side can take what it has for everything."""
        for end in (self.near, self.far):
            if end is not None and not self.closed:
                _reset_on_close(end.sock)
        self.close()

    def close(self) -> None:
        """Done, or given up; the second time nothing happens."""
        if self.closed:
            return
        self.closed = True
        for end in filter(None, (self.near, self.far)):
            self._loop.watch(end.sock, end.events, 0, self._near_ready)
            self._drop_pending(end)
            end.sock.close()
        self.ended(self)

    def _near_ready(self, events: int) -> None:
        if not self.closed and self.far is not None:
            self._ready(self.near, self.far, events)

    def _far_ready(self, events: int) -> None:
        if not self.closed and self.far is not None:
            self._ready(self.far, self.near, events)

    def _ready(self, one: _End, other: _End, events: int) -> None:
        try:
            if events & WRITE and one.pending is not None:
                self._write(one, one.pending, other)
            if events & READ and not one.eof and other.pending is None:
                self._read(one, other)
        except OSError:
            self.reset()
            return
        self._moved(self)
        if one.shut and other.shut:
            self.close()
        else:
            self._watch()

    def _read(self, source: _End, sink: _End) -> None:
        try:
            got = source.sock.recv_into(self._buffer.part())
        except BlockingIOError:
            return
        if got:
            source.count += got
            self._write(sink, self._buffer.view[:got], source)
        else:
            source.eof = True
            self._pass_on_end(sink)

    def _write(self, sink: _End, data: memoryview, source: _End) -> None:
        """Send what goes, keep the rest. A sink that takes nothing more may still have to say
        something: a server may answer and close before it has read everything."""
        try:
            sent = sink.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET) or sink.eof:
                raise
            source.eof = sink.shut = True
            self._drop_pending(sink)
            return
        rest = data[sent:]
        if sink.pending is None and rest:
            rest = memoryview(bytes(rest))  # the buffer is everybody's
        self._drop_pending(sink)
        if rest:
            sink.pending = rest
            self._buffer.waiting += len(rest)
        elif source.eof:
            self._pass_on_end(sink)

    def _drop_pending(self, end: _End) -> None:
        if end.pending is not None:
            self._buffer.waiting -= len(end.pending)
            end.pending = None

    def _pass_on_end(self, sink: _End) -> None:
        """A half-close: the other half stays open for as long as it is used."""
        sink.shut = True
        try:
            sink.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # it was reset; what it said before is read first
                raise

    def _watch(self) -> None:
        assert self.far is not None
        for end, other, handler in (
            (self.near, self.far, self._near_ready),
            (self.far, self.near, self._far_ready),
        ):
            wanted = 0 if end.eof or other.pending is not None else READ
            wanted |= 0 if end.pending is None else WRITE
            if wanted != end.events:
                self._loop.watch(end.sock, end.events, wanted, handler)
                end.events = wanted


def _tuned(sock: socket.socket) -> None:
    """No waiting for more bytes, and a peer that vanished is noticed within two minutes."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _reset_on_close(sock: socket.socket) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def connecting(sock: socket.socket, address: Any) -> int:
    """Begin to connect; 0: done, errno.EINPROGRESS: to be waited for, else why not."""
    sock.setblocking(False)
    return sock.connect_ex(address)


def outcome(sock: socket.socket) -> str | None:
    """Why a connection that was being made failed; None: it is there."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return os.strerror(code) if code else None
