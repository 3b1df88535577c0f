"""Consecutive TCP segments of one connection as one packet of up to 64 KiB, which the kernel cuts
again.

Most of what a packet costs is the kernel's way from the device through filter and translation to
the network card, and that is the same for one of 1,500 bytes and one of 64 KiB. So what follows on
what passed, and differs from it in nothing but its place in the stream, goes along with it: as
generic receive offload (net/core/gro.c) has it, over the header of virtio's network device (Virtual
I/O Device specification, 5.1.6) that a TUN device takes before each packet. Cut again they are the
same packets, but for TCP's checksum: the kernel makes it anew, right where an enclave had it wrong.
The other way packets come one by one: one that was cut here would need its checksum made here, at
10 ns a byte.
"""

from __future__ import annotations

import struct

MOST_BYTES = 65535  # of an IPv4 packet
# Segments of fewer payload bytes (RFC 9293's default) are no bulk, and cutting them costs the
# kernel more than they are worth.
LEAST_PAYLOAD = 536

_IP_BYTES, _TCP_LEAST_BYTES, _TCP_MOST_BYTES = 20, 20, 60
_ACK, _ACK_PUSH = 0x10, 0x18
_DONT_FRAGMENT = 0x40  # without it an id means something, and the kernel gives its own (RFC 6864)

# struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; of this
# machine's byte order.
_FRAME = struct.Struct("=BBHHHH")
FRAME_BYTES = _FRAME.size
PLAIN = bytes(FRAME_BYTES)
"""Before a packet that goes as it is: its checksums are its own."""
_NEEDS_CHECKSUM, _TCP_V4 = 1, 1
_TCP = 6

# By the TCP header's length: version and TOS, total length, (id), fragment to protocol, (checksum),
# addresses and ports, sequence number, acknowledgement and offset, flags, window, (checksum),
# urgent pointer and options. What is not in brackets has to be the same.
_SHAPES = {
    count: struct.Struct(f"!2sH2x4s2x12sI5sB2s2x{count - 18}s")
    for count in range(_TCP_LEAST_BYTES, _TCP_MOST_BYTES + 1, 4)
}
_WORDS = struct.Struct("!10H")


def merged(
    view: memoryview, start: int, length: int, end: int
) -> tuple[list[memoryview | bytes], int]:
    """The packet of `length` at `start`, which passed, with all that goes along with it before
    `end`: as buffers of one write, the frame and headers first and then one for each packet's
    payload; and where the next packet begins."""
    alone: list[memoryview | bytes] = [PLAIN, view[start : start + length]]
    tcp_bytes = view[start + 32] >> 4 << 2
    head, shape = _IP_BYTES + tcp_bytes, _SHAPES.get(tcp_bytes)
    payload = length - head
    if shape is None or payload < LEAST_PAYLOAD or end - start < length + head:
        return alone, start + length
    if view[start + 33] != _ACK or not view[start + 6] & _DONT_FRAGMENT:
        return alone, start + length
    kind, _, middle, ends, sequence, answer, _, window, options = shape.unpack_from(view, start)
    bodies: list[memoryview | bytes] = [view[start + head : start + length]]
    at, whole, flags = start + length, length, _ACK
    # One loop and one test, since it runs once a packet: a call more would cost as much as all.
    while at + head <= end:
        one = shape.unpack_from(view, at)
        sequence = sequence + payload & 0xFFFFFFFF
        size, more = one[1], one[1] - head
        if (
            one[4] != sequence
            or one[3] != ends
            or one[0] != kind
            or one[2] != middle
            or one[5] != answer
            or one[7] != window
            or one[8] != options
            or not 0 < more <= payload
            or at + size > end
            or whole + more > MOST_BYTES
            or (one[6] != _ACK and one[6] != _ACK_PUSH)
        ):
            break
        bodies.append(view[at + head : at + size])
        at, whole, flags = at + size, whole + more, one[6]
        if more < payload or flags != _ACK:
            break
    if len(bodies) == 1:
        return alone, start + length
    return [_header(view[start : start + head], whole, payload, flags), *bodies], at


def _header(first: memoryview, whole: int, payload: int, flags: int) -> bytes:
    """The frame and the first packet's headers, of a packet of `whole` bytes that is to be cut
    after each `payload`."""
    head = bytearray(first)
    words = _WORDS.unpack_from(head)
    # RFC 1624: a checksum that was wrong stays so, and the kernel drops the packet.
    checksum = _folded((~words[5] & 0xFFFF) + (~words[1] & 0xFFFF) + whole)
    # Of the pseudo-header alone; the rest is the kernel's, packet by packet (RFC 9293, 3.1).
    pseudo = _folded(sum(words[6:10]) + _TCP + whole - _IP_BYTES)
    head[2:4] = whole.to_bytes(2, "big")
    head[10:12] = (~checksum & 0xFFFF).to_bytes(2, "big")
    head[33] = flags
    head[36:38] = pseudo.to_bytes(2, "big")
    return _FRAME.pack(_NEEDS_CHECKSUM, _TCP_V4, len(head), payload, _IP_BYTES, 16) + bytes(head)


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
