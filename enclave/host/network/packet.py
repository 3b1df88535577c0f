"""Which of an enclave's packets pass: pure, on bytes alone, before anything is done with them.

An enclave is a stranger on this machine's network. It may speak TCP over IPv4 from its own address
and its own ports to the public internet, whole packets without options, and nothing else. The
kernel's filter (`nat`) says the same once more.
"""

from __future__ import annotations

import socket
import struct

from enclave.host.network import reach
from enclave.host.network.orders import ENCLAVE_ADDRESS

# Of Marlin's hosts: ports of the enclave, both ways; the host keeps the rest for itself.
FIRST_PORT, LAST_PORT = 1024, 61439
LOW_PORTS = frozenset({80, 443})
MAIL_PORT = 25
LEAST_BYTES, MOST_BYTES = 20, 65535
# The way to the internet carries no more than 1,500 bytes a packet (EC2 User Guide, "Network MTU"),
# and not every firewall lets the notice through that says so.
MOST_SEGMENT = 1460
_TCP_BYTES = 20

# RFC 791 and RFC 9293: version and header length, TOS, total length, id, fragment, TTL, protocol,
# checksum, source, destination; source port, destination port.
_HEADER = struct.Struct("!BBHHHBBH4s4sHH")
_FRAME = struct.Struct("!BBH")
_TCP, _ICMP = 6, 1
_MORE_OR_OFFSET = 0x3FFF
_NO_OPTIONS = 0x45
_ENCLAVE = socket.inet_aton(ENCLAVE_ADDRESS)
_NEAR = tuple((int(network.netmask), int(network.network_address)) for network, _ in reach.V4)
# Verdicts on destinations are kept, since asking costs more than all else about a packet.
_MOST_KNOWN = 4096


class Garbage(Exception):
    """The stream's bytes are no packets any more: where the next begins can't be known."""


def length_at(buffer: memoryview, start: int) -> int:
    """The whole packet's length by its header, whose first four bytes must be there.

    Raises Garbage when they are no IPv4 header's.
    """
    first, _, length = _FRAME.unpack_from(buffer, start)
    if first >> 4 != 4 or first & 15 < 5 or length < (first & 15) * 4:
        raise Garbage(f"no IPv4 header: {bytes(buffer[start : start + 4]).hex()}")
    return int(length)


class Outward:
    """What leaves the enclave; `mail` opens port 25."""

    def __init__(self, mail: bool) -> None:
        self._mail = mail
        self._known: dict[bytes, bool] = {}

    def why_not(self, buffer: memoryview, start: int, length: int) -> str | None:
        """In a word, why the packet may not leave; None: it may."""
        if length < LEAST_BYTES + _TCP_BYTES:
            return "short" if buffer[start + 9] == _TCP else "not-tcp"
        fields = _HEADER.unpack_from(buffer, start)
        first, _, _, _, fragment, _, protocol, _, source, target, from_port, to_port = fields
        if source != _ENCLAVE:
            return "source"
        if protocol != _TCP:
            return "not-tcp"
        if fragment & _MORE_OR_OFFSET:
            return "fragment"
        if first != _NO_OPTIONS:
            return "options"
        if not own_port(from_port):
            return "source-port"
        if to_port == MAIL_PORT and not self._mail:
            return "mail"
        near = self._known.get(target)
        return "near" if (self._look(target) if near is None else near) else None

    def _look(self, target: bytes) -> bool:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        near = self._known[target] = is_near(target)
        return near


def is_near(target: bytes) -> bool:
    """Whether this IPv4 address (4 bytes) is one that no enclave may reach."""
    number = int.from_bytes(target, "big")
    return any(number & mask == network for mask, network in _NEAR)


def own_port(port: int) -> bool:
    """Whether the port is the enclave's and not the host's."""
    return FIRST_PORT <= port <= LAST_PORT or port in LOW_PORTS


def inward_why_not(buffer: memoryview, start: int, length: int) -> str | None:
    """Why a packet of the kernel is not for the enclave; None: it is.

    TCP for its own address, and ICMP, by which the way tells what it can't carry.
    """
    if length < LEAST_BYTES or buffer[start] >> 4 != 4:
        return "not-ipv4"
    if buffer[start + 16 : start + 20] != _ENCLAVE:
        return "target"
    if int.from_bytes(buffer[start + 2 : start + 4], "big") != length:
        return "length"
    return None if buffer[start + 9] in (_TCP, _ICMP) else "not-tcp"
