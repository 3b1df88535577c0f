"""The kernel's side of an enclave's packets: a TUN device with translation behind it.

What a device is to the streams: a `descriptor` that is readable when a packet is there, `read` and
`write`, and `close`.
"""

from __future__ import annotations

import os
from typing import Protocol

from enclave.host.network import nat, superpacket, tun
from enclave.host.network.orders import ENCLAVE_ADDRESS, HOST_ADDRESS
from enclave.host.network.wires import Wires


class Device(Protocol):
    """Between the streams and the kernel. Both calls raise OSError."""

    descriptor: int

    def read(self, view: memoryview) -> int:
        """The next packet for the enclave, into `view`; its length. BlockingIOError: none."""
        ...

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        """Send the packet at `start`, which passed, with what goes along with it before `end`: how
        many packets those were, and where the next one begins."""
        ...

    def close(self) -> None: ...


class TunDevice:
    """One packet a read; a run of one connection's packets a write. Raises OSError or NatRefused
    when it can't be had."""

    def __init__(self, wires: Wires, mail: bool) -> None:
        if wires.tun is None:
            raise nat.NatRefused("there is no TUN device where something else stands for vsock")
        self._frame = bytearray(superpacket.FRAME_BYTES)
        self.descriptor = tun.open_tun(HOST_ADDRESS, ENCLAVE_ADDRESS, wires.tun, framed=True)
        try:
            nat.apply(tun.NAME, mail)
        except nat.NatRefused:
            os.close(self.descriptor)
            raise

    def read(self, view: memoryview) -> int:
        return os.readv(self.descriptor, [self._frame, view]) - superpacket.FRAME_BYTES

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        buffers, stop = superpacket.merged(view, start, length, end)
        os.writev(self.descriptor, buffers)
        return len(buffers) - 1, stop

    def close(self) -> None:
        nat.remove()
        os.close(self.descriptor)
