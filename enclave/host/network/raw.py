"""Packets of an enclave where no TUN device can be had: raw sockets on the machine's own interface.

A packet socket has a copy of what comes to the enclave's ports before the kernel's own TCP sees it,
which is kept from answering by a filter (`nat.apply_raw`); a raw socket sends. The enclave's
address becomes the machine's and back here, packet by packet, ports stay as they are. It is slower
than a TUN and passes no ICMP. packet(7), raw(7).
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.packet import FIRST_PORT, LAST_PORT, LOW_PORTS, MOST_SEGMENT

_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
QUEUE_BYTES = 8 << 20
# ethtool.h; what the card put together would be longer than any packet, its checksum not made.
_SIOCETHTOOL, _SIOCGIFADDR = 0x8946, 0x8915
SET_GRO = 0x2C
_SYN = 0x02
_TCP = 6
_MSS_OPTION, _MSS_BYTES = 2, 4
_NEAR = socket.inet_aton(ENCLAVE_ADDRESS)


class Unreachable(OSError):
    """This machine has no way to the world that packets could take."""


def open_sockets(*, trial: bool = False) -> tuple[str, list[int]]:
    """This machine's address, and descriptors of the sockets to read from and to send by; a `trial`
    leaves its interface as it is. Raises OSError."""
    device, address = _way_out()
    reading = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        _filter(reading, socket.inet_aton(address))
        reading.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES)
        if not trial:
            set_offload(device, SET_GRO, 0)
        reading.bind((device, _ETH_P_IP))
        sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except OSError:
        reading.close()
        raise
    return address, [reading.detach(), sending.detach()]


def _way_out(routes: Path = Path("/proc/thread-self/net/route")) -> tuple[str, str]:
    """The interface of the default route, and this machine's address there."""
    for line in routes.read_text().splitlines()[1:]:
        device, target = line.split()[:2]
        if target == "00000000":
            break
    else:
        raise Unreachable("no default route")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        said = fcntl.ioctl(control, _SIOCGIFADDR, struct.pack("40s", device.encode()))
    return device, socket.inet_ntoa(said[20:24])


def set_offload(device: str, command: int, value: int) -> None:
    """One of ethtool's settings. Raises OSError."""
    said = array.array("I", [command, value])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sP16x", device.encode(), said.buffer_info()[0])
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def _filter(sock: socket.socket, address: bytes) -> None:
    """TCP to this address and the enclave's ports alone, whole or a first fragment: the host's own
    traffic (an image of gigabytes) is no business of this socket. Classic BPF, filter.rst."""
    low, high = sorted(LOW_PORTS)
    number = int.from_bytes(address, "big")
    rows = [
        (0x30, 0, 0, 9), (0x15, 0, 11, _TCP),
        (0x20, 0, 0, 16), (0x15, 0, 9, number),
        (0x28, 0, 0, 6), (0x45, 7, 0, 0x1FFF),
        (0xB1, 0, 0, 0), (0x48, 0, 0, 2),
        (0x15, 3, 0, low), (0x15, 2, 0, high),
        (0x35, 0, 2, FIRST_PORT), (0x25, 1, 0, LAST_PORT),
        (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0),
    ]  # fmt: skip
    program = b"".join(struct.pack("HBBI", *row) for row in rows)
    kept = array.array("B", program)
    sock.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(rows), kept.buffer_info()[0]),
    )


class RawDevice:
    """`address` is this machine's. A packet a call, either way; `undo` is called at its end."""

    def __init__(
        self, address: str, reading: int, sending: int, undo: Callable[[], object]
    ) -> None:
        self._undo = undo
        self._in, self._out = socket.socket(fileno=reading), socket.socket(fileno=sending)
        for sock in (self._in, self._out):
            sock.setblocking(False)
        self.descriptor = self._in.fileno()
        self._own = socket.inet_aton(address)
        self._outward, self._inward = difference(_NEAR, self._own), difference(self._own, _NEAR)

    def read(self, view: memoryview) -> int:
        got = self._in.recv_into(view)
        length = min(got, int.from_bytes(view[2:4], "big"))  # the link's padding is no packet
        head = (view[0] & 15) * 4
        if length >= head + 20:
            view[16:20] = _NEAR
            _adjust(view, 10, self._inward)
            _adjust(view, head + 16, self._inward)
            clamp(view[head:length])
        return length

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        packet = view[start : start + length]
        packet[12:16] = self._own
        _adjust(packet, 36, self._outward)
        self._out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        return 1, start + length

    def close(self) -> None:
        self._undo()
        self._in.close()
        self._out.close()


def difference(old: bytes, new: bytes) -> int:
    """What a checksum changes by where an even number of bytes becomes others (RFC 1624)."""
    gone, come = (struct.unpack(f"!{len(one) // 2}H", one) for one in (old, new))
    return int(sum(~word & 0xFFFF for word in gone) + sum(come))


def _adjust(view: memoryview, at: int, by: int) -> None:
    total = (~int.from_bytes(view[at : at + 2], "big") & 0xFFFF) + by
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    view[at : at + 2] = (~total & 0xFFFF).to_bytes(2, "big")


def clamp(segment: memoryview) -> None:
    """In a segment that opens a connection, no larger ones are asked for than the way carries."""
    if not segment[13] & _SYN:
        return
    at, end = 20, min((segment[12] >> 4) * 4, len(segment))
    while at + _MSS_BYTES <= end and segment[at]:
        if segment[at] == 1:
            at += 1
            continue
        if segment[at] == _MSS_OPTION and segment[at + 1] == _MSS_BYTES:
            _clamp_at(segment, at + 2)
            return
        at += max(segment[at + 1], 2)


def _clamp_at(segment: memoryview, at: int) -> None:
    old, new = bytes(segment[at : at + 2]), MOST_SEGMENT.to_bytes(2, "big")
    if old <= new:
        return
    segment[at : at + 2] = new
    if at % 2:  # the option lies across the checksum's words
        old, new = b"\0" + old + b"\0", b"\0" + new + b"\0"
    _adjust(segment, 16, difference(old, new))
