"""The kernel's side of an enclave's packets, as the streams meet it.

What a device is to the streams: a `descriptor` that is readable when a packet is there, `read` and
`write`, and `close`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from enclave.host.network import superpacket


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
    """One packet a read; a run of one connection's packets a write. `undo` is called at its end."""

    def __init__(self, descriptor: int, undo: Callable[[], object]) -> None:
        self._frame = bytearray(superpacket.FRAME_BYTES)
        self.descriptor, self._undo = descriptor, undo

    def read(self, view: memoryview) -> int:
        return os.readv(self.descriptor, [self._frame, view]) - superpacket.FRAME_BYTES

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        buffers, stop = superpacket.merged(view, start, length, end)
        os.writev(self.descriptor, buffers)
        return len(buffers) - 1, stop

    def close(self) -> None:
        self._undo()
        os.close(self.descriptor)
