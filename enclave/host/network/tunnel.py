"""The enclave's packets: two vsock streams, a TUN device, and the kernel's translation behind it.

As standard images expect it: the host listens on 3:1200 for packets from the enclave and connects
to <cid>:1200 with packets for it, raw IPv4 back to back. A stream that is lost is made anew for
ever.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from enclave.host.network import nat
from enclave.host.network.bucket import Bucket
from enclave.host.network.device import Device
from enclave.host.network.loop import READ, Loop
from enclave.host.network.orders import Packets
from enclave.host.network.packet import Outward
from enclave.host.network.streams import FromEnclave, Tally, ToEnclave
from enclave.host.network.wires import Wires, peer_cid

PORT = 1200
# An enclave that has just been started has no stream yet.
LOST_SECONDS = 10.0
# A device or rules that can't be had are tried again so often.
AGAIN_SECONDS = 5.0


class Tunnel:
    """For the loop's thread. `make` gives the device, with mail or not, or raises OSError or
    NatRefused."""

    def __init__(
        self,
        loop: Loop,
        wires: Wires,
        clock: Callable[[], float],
        cid: int,
        wanted: Packets,
        make: Callable[[Wires, bool], Device],
    ) -> None:
        self._loop, self._wires, self._clock, self._cid = loop, wires, clock, cid
        self._wanted, self._make_device = wanted, make
        self._device: Device | None = None
        self._listener: socket.socket | None = None
        self._from: FromEnclave | None = None
        self._to: ToEnclave | None = None
        self._again_at = 0.0
        self._well_at = clock()  # when both streams were there last
        self._hindered: str | None = None
        self.tally = Tally()

    @property
    def ready(self) -> bool:
        """Whether an enclave may be started."""
        return self._listener is not None

    @property
    def problem(self) -> str | None:
        """What is wrong, in words that stay the same while it is."""
        if self._hindered is not None:
            return self._hindered
        if self._clock() - self._well_at < LOST_SECONDS:
            return None
        return f"lost: {self._lost()} (vsock {PORT}); it is made anew as soon as the enclave does"

    @property
    def counts(self) -> dict[str, int]:
        """By the names of `documents.COUNTS`: packets that passed, that did not, lost streams."""
        one = self.tally
        tried = {"accepted": one.passed, "refused": sum(one.drops.values()), "failed": one.lost}
        return {**tried, "bytes_in": one.bytes_in, "bytes_out": one.bytes_out}

    def tick(self, now: float) -> None:
        """Have everything that is not there yet."""
        if self._device is None and now >= self._again_at:
            self._open(now)
        if self._to is not None:
            self._to.tick()
        if self._lost() is None:
            self._well_at = now

    def wait(self, now: float) -> float | None:
        """Seconds until the enclave's rate allows more; None: nothing waits for it."""
        wait = self._from.resume(now) if self._from is not None else 0.0
        return wait or None

    def _lost(self) -> str | None:
        lost = []
        if self._from is None or self._from.sock is None:
            lost.append("the stream from the enclave")
        if self._to is None or not self._to.connected:
            lost.append("the stream to the enclave")
        return " and ".join(lost) or None

    def _open(self, now: float) -> None:
        self._again_at = now + AGAIN_SECONDS
        try:
            self._device = self._make_device(self._wires, self._wanted.mail)
            self._listener = self._wires.listen_vsock(PORT)
        except (OSError, nat.NatRefused) as error:
            self._hindered = f"cannot be had: {error}"
            self._close_device()
            return
        self._hindered = None
        loop, device, bucket = self._loop, self._device, Bucket(self._wanted.kbit, now)
        self._from = FromEnclave(loop, self.tally, device, Outward(self._wanted.mail), bucket)
        self._to = ToEnclave(loop, self.tally, device, self._target)
        loop.watch(self._listener, 0, READ, self._accept)

    def _target(self) -> tuple[socket.socket, Any]:
        return self._wires.vsock(), self._wires.vsock_address(self._cid, PORT)

    def _accept(self, _: int) -> None:
        if self._listener is None or self._from is None:
            return
        try:
            sock, address = self._listener.accept()
        except OSError:  # gone again, or no descriptor: it connects once more
            return
        if peer_cid(address) in (None, self._cid):
            self._from.attach(sock)
        else:
            sock.close()

    def _close_device(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None

    def close(self) -> None:
        """No packets any more."""
        if self._listener is not None:
            self._loop.watch(self._listener, READ, 0, self._accept)
            self._listener.close()
            self._listener = None
        for stream in (self._from, self._to):
            if stream is not None:
                stream.detach()
        self._close_device()
