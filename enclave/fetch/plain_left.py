"""What an earlier fetch of a plain file left on disk, to go on from; it is believed in nothing.

The file was written from its first byte on into room that was all zeros, so what came ends at the
last byte that is none. Whoever goes on from it has a digest, which tells in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enclave.eif.format import MAGIC

_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Left:
    """The first `came` bytes of a file that is to have `size`."""

    part: Path
    size: int
    came: int

    def pieces(self) -> Iterator[bytes]:
        """They may be written over by the same meanwhile. Raises OSError."""
        with self.part.open("rb", buffering=0) as file:
            for start in range(0, self.came, _READ_BYTES):
                yield os.pread(file.fileno(), min(_READ_BYTES, self.came - start), start)


def left_at(part: Path) -> Left | None:
    """None: nothing of an image, or nothing that can be read."""
    try:
        with part.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if os.pread(file.fileno(), len(MAGIC), 0) != MAGIC:
                return None
            return Left(part, size, _end(file.fileno(), size))
    except OSError:
        return None


def _end(fd: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - _READ_BYTES)
        if came := os.pread(fd, end - start, start).rstrip(b"\0"):
            return start + len(came)
        end = start
    return 0
