"""CAR version 1, read as it arrives: frames in, (CID, block) out, checked against each other.

Nothing is allocated on the word of a length: a frame's length is checked when it is read. The
header's roots are not believed (what is wanted is known by its CID), so only the version is read.
Source: the CARv1 specification (ipld.io).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from enclave.cid import MAX_CID_BYTES, BadCid, Cid, read_cid_at, read_varint, write_varint
from faults import TryElsewhere

MAX_BLOCK_BYTES: Final = 2 << 20  # what peers pass to each other (bitswap's limit)
MAX_HEADER_BYTES: Final = 4096  # a header with one root has about 60
_MAX_FRAME_BYTES: Final = MAX_BLOCK_BYTES + MAX_CID_BYTES
_VERSION_1: Final = b"gversion\x01"  # DAG-CBOR of the map entry "version": 1
_VARINT_BYTES: Final = 9


class BadCar(TryElsewhere):
    """These bytes are no CAR that is accepted here; another source may send a sound one."""


class Lie(BadCar):
    """A block is not what its CID says: whoever sent it is not to be asked again."""


class CarReader:
    """Feed it the bytes of a CAR in pieces of any size; it gives back verified blocks.

    Holds at most one frame beside the piece that is being fed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_header = True
        self._blocks = 0

    @property
    def just_begun(self) -> bool:
        """Its header is there and not a byte more: the first block may still be looked for."""
        return not self._in_header and not self._blocks and not self._buffer

    def feed(self, data: bytes) -> Iterator[tuple[Cid, bytes]]:
        """Every block that `data` completes. Raises BadCar, Lie."""
        self._buffer += data
        at = 0
        try:
            while (frame := _frame(self._buffer, at, self._limit)) is not None:
                start, at = frame
                if self._in_header:
                    self._read_header(bytes(self._buffer[start:at]))
                else:
                    self._blocks += 1
                    yield _block(self._buffer, start, at)
        finally:
            del self._buffer[:at]

    def finish(self) -> None:
        """The stream has ended: was that the end of a frame? Raises BadCar."""
        if self._in_header or self._buffer:
            raise BadCar(f"the CAR is cut off inside a frame ({len(self._buffer)} bytes of it)")

    @property
    def _limit(self) -> int:
        return MAX_HEADER_BYTES if self._in_header else _MAX_FRAME_BYTES

    def _read_header(self, header: bytes) -> None:
        if _VERSION_1 not in header:
            raise BadCar("this is no CAR of version 1")
        self._in_header = False


def car_header(*roots: Cid) -> bytes:
    """The first frame of a CAR: DAG-CBOR of {"roots": [...], "version": 1}."""
    links = b"".join(b"\xd8\x2a" + _cbor_bytes(b"\0" + bytes(root)) for root in roots)
    body = b"\xa2eroots" + bytes([0x80 | len(roots)]) + links + _VERSION_1
    return write_varint(len(body)) + body


def car_frame(cid: Cid, block: bytes) -> bytes:
    name = bytes(cid)
    return write_varint(len(name) + len(block)) + name + block


def _frame(buffer: bytearray, at: int, limit: int) -> tuple[int, int] | None:
    """Where the frame at `at` begins and ends, or None while it is incomplete."""
    try:
        length, start = read_varint(buffer, at)
    except BadCid as fault:
        if len(buffer) - at >= _VARINT_BYTES or not _cut_off(buffer, at):
            raise BadCar(f"a CAR frame's length is unreadable: {fault}") from None
        return None
    if not 0 < length <= limit:
        raise BadCar(f"a CAR frame of {length} bytes; 1 to {limit} are accepted")
    return (start, start + length) if len(buffer) >= start + length else None


def _cut_off(buffer: bytearray, at: int) -> bool:
    return all(byte & 0x80 for byte in buffer[at:])


def _block(buffer: bytearray, start: int, end: int) -> tuple[Cid, bytes]:
    try:
        cid, body = read_cid_at(buffer[start : min(end, start + MAX_CID_BYTES)], 0)
    except BadCid as fault:
        raise BadCar(f"a CAR frame's CID is unreadable: {fault}") from None
    block = bytes(memoryview(buffer)[start + body : end])
    if len(block) > MAX_BLOCK_BYTES:
        raise BadCar(f"a block of {len(block)} bytes; at most {MAX_BLOCK_BYTES} are accepted")
    if not cid.matches(block):
        raise Lie(f"block {cid} is not what its CID says")
    return cid, block


def _cbor_bytes(data: bytes) -> bytes:
    return bytes([0x58, len(data)]) + data
