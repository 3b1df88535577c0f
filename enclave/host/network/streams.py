"""The two streams of an enclave's packets, each one way, between a vsock connection and a device.

`FromEnclave` checks every packet and writes it to the device; `ToEnclave` reads the kernel's and
sends them. Neither keeps more than its buffer: who can't send does not read.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from enclave.host.network import joint as joining
from enclave.host.network import packet
from enclave.host.network.bucket import Bucket
from enclave.host.network.device import Device
from enclave.host.network.loop import READ, WRITE, Loop

BUFFER_BYTES = 512 << 10
# Packets of the kernel that are taken at once, so that others of this process get their turns.
A_TURN = 128


@dataclass
class Tally:
    """What was counted of both: `drops` by reason, `lost` streams, bytes by their direction."""

    drops: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    lost: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class FromEnclave:
    """Packets that the enclave sends."""

    def __init__(
        self, loop: Loop, tally: Tally, device: Device, outward: packet.Outward, bucket: Bucket
    ) -> None:
        self._loop, self._tally, self._device = loop, tally, device
        self._outward, self._bucket = outward, bucket
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._have = 0
        self._events = 0
        self.sock: socket.socket | None = None

    def attach(self, sock: socket.socket) -> None:
        """The enclave connected; an earlier connection of it is over."""
        if self.sock is not None:
            self._lose()
        sock.setblocking(False)
        self.sock, self._have = sock, 0
        self._watch(READ)

    def detach(self) -> None:
        """No stream."""
        if self.sock is not None:
            self._watch(0)
            self.sock.close()
            self.sock = None

    def resume(self, now: float) -> float:
        """Read on when the rate allows it; seconds until then, 0: it does."""
        wait = self._bucket.wait(now)
        if self.sock is not None:
            self._watch(0 if wait else READ)
        return wait

    def _watch(self, events: int) -> None:
        if self.sock is not None:
            self._loop.watch(self.sock, self._events, events, self._ready)
        self._events = events

    def _ready(self, _: int) -> None:
        if self.sock is None:
            return
        try:
            got = self.sock.recv_into(self._view[self._have :])
        except BlockingIOError:
            return
        except OSError:
            got = 0
        if not got:
            self._lose()
            return
        self._have += got
        try:
            self._pass_on()
        except packet.Garbage:
            self._tally.drops["garbage"] += 1
            self._lose()

    def _lose(self) -> None:
        self._tally.lost += 1
        self.detach()

    def _pass_on(self) -> None:
        """All whole packets; the beginning of the next one is kept."""
        view, end, start = self._view, self._have, 0
        while end - start >= packet.LEAST_BYTES:
            length = packet.length_at(view, start)
            if end - start < length:
                break
            start = self._one(view, start, length, end)
        rest = end - start
        if start and rest:
            view[:rest] = bytes(view[start:end])
        self._have = rest

    def _one(self, view: memoryview, start: int, length: int, end: int) -> int:
        """The packet at `start` and what goes along with it; where the next one begins."""
        why = self._outward.why_not(view, start, length)
        if why is None:
            try:
                count, stop = self._device.write(view, start, length, end)
            except OSError:  # the device is down, or its queue full: packets may be lost
                why = "device"
        if why is not None:
            self._tally.drops[why] += 1
            return start + length
        self._tally.passed += count
        self._tally.bytes_out += stop - start
        self._bucket.take(stop - start)
        return stop


class ToEnclave:
    """Packets for the enclave. `make` gives a socket and the address to which it is connected."""

    def __init__(
        self,
        loop: Loop,
        tally: Tally,
        device: Device,
        make: Callable[[], tuple[socket.socket, Any]],
    ) -> None:
        self._loop, self._tally, self._device, self._make = loop, tally, device, make
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._pending: memoryview | None = None
        self._events = self._device_events = 0
        self._sock: socket.socket | None = None
        self.connected = False

    def tick(self) -> None:
        """Connect, unless it is or tries to."""
        if self._sock is not None:
            return
        try:
            self._sock, address = self._make()
            code = joining.connecting(self._sock, address)
        except OSError:  # no descriptor for it: at the next tick
            self.detach()
            return
        if code == 0:
            self._made(self._sock)
        elif code == errno.EINPROGRESS:
            self._watch(WRITE)
        else:
            self.detach()

    def detach(self) -> None:
        """No stream, and no half of a packet left over for the next."""
        self._watch_device(0)
        self._watch(0)
        if self._sock is not None:
            self._sock.close()
        self._sock, self._pending, self.connected = None, None, False

    def _watch(self, events: int) -> None:
        if self._sock is not None:
            self._loop.watch(self._sock, self._events, events, self._ready)
        self._events = events

    def _watch_device(self, events: int) -> None:
        self._loop.watch(self._device.descriptor, self._device_events, events, self._take)
        self._device_events = events

    def _made(self, sock: socket.socket) -> None:
        self.connected = True
        self._watch(READ)
        self._watch_device(READ)

    def _ready(self, events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        if not self.connected:
            if joining.outcome(sock) is None:
                self._made(sock)
            else:
                self.detach()
            return
        if events & READ and not self._alive(sock):
            self._lose()
        elif events & WRITE and self._pending is not None:
            self._send(sock, self._pending)

    def _alive(self, sock: socket.socket) -> bool:
        """Nothing is said on this stream; its end is."""
        try:
            return bool(sock.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _lose(self) -> None:
        self._tally.lost += 1
        self.detach()

    def _take(self, _: int) -> None:
        if self._sock is None or not self.connected or self._pending is not None:
            return
        fill = 0
        for _turn in range(A_TURN):
            try:
                got = self._device.read(self._view[fill:])
            except OSError:  # none left (EAGAIN), or the device is down
                break
            why = packet.inward_why_not(self._view, fill, got)
            if why is None:
                fill += got
                self._tally.passed += 1
            else:
                self._tally.drops[why] += 1
            if fill > BUFFER_BYTES - packet.MOST_BYTES:
                break
        if fill:
            self._tally.bytes_in += fill
            self._send(self._sock, self._view[:fill])

    def _send(self, sock: socket.socket, data: memoryview) -> None:
        try:
            sent = sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return
        rest = data[sent:]
        if rest and self._pending is None:
            rest = memoryview(bytes(rest))  # the buffer is used again
        self._pending = rest if rest else None
        self._watch(READ | WRITE if rest else READ)
        self._watch_device(0 if rest else READ)
