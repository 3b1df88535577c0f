"""Images for tests, and two naive readings of one to compare with."""

from __future__ import annotations

import functools
import hashlib
import itertools
import struct
from collections.abc import Iterator

from enclave.eif.measure import Measured, StreamingMeasurer
from enclave.eif.writer import ImageSpec, SigningKey, make_signer


@functools.cache
def signer() -> SigningKey:
    return make_signer()


def small(**changes: object) -> ImageSpec:
    """A small valid image with two ramdisks."""
    parts: dict[str, object] = {
        "kernel": b"kernel" * 50,
        "cmdline": b"reboot=k panic=30",
        "ramdisks": [b"init" * 40, b"rootfs" * 60],
    }
    return ImageSpec(**(parts | changes))  # type: ignore[arg-type]  # test-only keyword splat


def measure(image: bytes, *cuts: int, size_bytes: int | None = None) -> Measured:
    """What a streaming measurer says of `image`, fed in pieces that end at `cuts`."""
    measurer = StreamingMeasurer(size_bytes=size_bytes)
    for start, end in itertools.pairwise([0, *sorted(cuts), len(image)]):
        measurer.update(image[start:end])
    return measurer.finish()


def walked(image: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, data) as AWS's reader meets them: from byte 548 on, the table unseen."""
    position = 548
    while len(image) - position >= 12:
        kind, _, size = struct.unpack(">HHQ", image[position : position + 12])
        yield kind, image[position + 12 : position + 12 + size]
        position += 12 + size


def tabled(image: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, data) as QEMU finds them: by the table."""
    (count,) = struct.unpack(">H", image[26:28])
    offsets = struct.unpack(">32Q", image[28:284])[:count]
    sizes = struct.unpack(">32Q", image[284:540])[:count]
    for offset, size in zip(offsets, sizes, strict=True):
        (kind,) = struct.unpack(">H", image[offset : offset + 2])
        yield kind, image[offset + 12 : offset + 12 + size]


def naive_pcrs(sections: Iterator[tuple[int, bytes]]) -> dict[int, str]:
    """PCR0 to PCR2 by the letter of the format, everything in memory."""
    measured = [(kind, data) for kind, data in sections if kind in (1, 2, 3)]
    ramdisks = [data for kind, data in measured if kind == 3]
    first_only, seen = [], 0
    for kind, data in measured:
        seen += kind == 3
        if kind != 3 or seen == 1:
            first_only.append(data)
    contents = {0: [data for _, data in measured], 1: first_only, 2: ramdisks[1:]}
    return {number: _pcr(b"".join(content)) for number, content in contents.items()}


def _pcr(content: bytes) -> str:
    return hashlib.sha384(bytes(48) + hashlib.sha384(content).digest()).hexdigest()
