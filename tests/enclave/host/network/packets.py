"""Packets as an enclave might send them: one that may pass, and every way to differ from it; and a
device that takes them as the kernel's does."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from enclave.host.network import superpacket
from enclave.host.network.orders import ENCLAVE_ADDRESS


@dataclass(frozen=True)
class Packet:
    """The fields that are looked at; `length` None: what it really is."""

    version: int = 4
    words: int = 5
    fragment: int = 0x4000  # don't fragment
    protocol: int = 6
    source: str = ENCLAVE_ADDRESS
    target: str = "9.9.9.9"
    from_port: int = 80
    to_port: int = 40000
    length: int | None = None
    body: bytes = b""

    def bytes(self) -> bytes:
        options = bytes(4 * max(self.words - 5, 0))
        ports = struct.pack("!HH", self.from_port, self.to_port)
        rest = options + ports + bytes(16) + self.body
        length = 20 + len(rest) if self.length is None else self.length
        first = self.version << 4 | self.words
        addresses = socket.inet_aton(self.source) + socket.inet_aton(self.target)
        head = struct.pack("!BBHHHBBH", first, 0, length, 0, self.fragment, 64, self.protocol, 0)
        return head + addresses + rest


@dataclass(frozen=True)
class Segment:
    """One of a TCP stream, its checksums as they should be, plus what they are wrong by."""

    sequence: int = 0
    body: bytes = b""
    flags: int = 0x10
    answer: int = 1
    window: int = 500
    options: bytes = bytes(12)
    to_port: int = 40000
    from_port: int = 80
    source: str = ENCLAVE_ADDRESS
    target: str = "9.9.9.9"
    protocol: int = 6
    fragment: int = 0x4000
    id: int = 0
    tos: int = 0
    ttl: int = 64
    urgent: int = 0
    wrong: int = 0

    def bytes(self) -> bytes:
        offset = (20 + len(self.options)) // 4 << 4
        ports = struct.pack("!HHII", self.from_port, self.to_port, self.sequence, self.answer)
        flags = struct.pack("!BBHHH", offset, self.flags, self.window, 0, self.urgent)
        tcp = bytearray(ports + flags + self.options + self.body)
        length = 20 + len(tcp)
        start = (0x45, self.tos, length, self.id, self.fragment, self.ttl, self.protocol, 0)
        addresses = socket.inet_aton(self.source) + socket.inet_aton(self.target)
        head = bytearray(struct.pack("!BBHHHBBH", *start) + addresses)
        head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
        pseudo = addresses + struct.pack("!HH", 6, len(tcp))
        right = checksum(pseudo + bytes(tcp))
        tcp[16:18] = (right ^ self.wrong).to_bytes(2, "big")
        return bytes(head + tcp)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    words = struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2])
    total: int = sum(words) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Cutting:
    """Takes packets as a TUN device does, and keeps them as the kernel sends them on: cut as
    `struct virtio_net_hdr` says, numbered from the first's id, each with a checksum of its own."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.writes = 0
        self.descriptor = -1

    def read(self, view: memoryview) -> int:
        raise BlockingIOError

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        buffers, stop = superpacket.merged(view, start, length, end)
        self.writes += 1
        packets = list(_cut(b"".join(buffers)))
        assert len(packets) == len(buffers) - 1
        self.sent += packets
        return len(packets), stop

    def close(self) -> None: ...


def _cut(framed: bytes) -> Iterator[bytes]:
    flags, kind, head_bytes, size, start, offset = struct.unpack_from("=BBHHHH", framed)
    packet = framed[10:]
    if not flags:
        assert (kind, head_bytes, size, start, offset) == (0, 0, 0, 0, 0)
        yield packet
        return
    assert (flags, kind, start, offset) == (1, 1, 20, 16)
    assert len(packet) == int.from_bytes(packet[2:4], "big")
    assert checksum(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack("!HH", 6, len(packet) - 20)
    assert int.from_bytes(packet[36:38], "big") == ~checksum(pseudo) & 0xFFFF
    yield from _segments(packet, head_bytes, size)


def _segments(packet: bytes, head_bytes: int, size: int) -> Iterator[bytes]:
    total, first_id = len(packet) - head_bytes, int.from_bytes(packet[4:6], "big")
    sequence, answer = struct.unpack_from("!II", packet, 24)
    for number, at in enumerate(range(0, total, size)):
        last = at + size >= total
        yield Segment(
            sequence=(sequence + at) & 0xFFFFFFFF,
            body=packet[head_bytes + at : head_bytes + at + size],
            flags=packet[33] if last else packet[33] & ~0x09,
            answer=answer,
            window=int.from_bytes(packet[34:36], "big"),
            options=packet[40:head_bytes],
            to_port=int.from_bytes(packet[22:24], "big"),
            fragment=int.from_bytes(packet[6:8], "big"),
            id=(first_id + number) & 0xFFFF,
            tos=packet[1],
            ttl=packet[8],
            urgent=int.from_bytes(packet[38:40], "big"),
        ).bytes()
