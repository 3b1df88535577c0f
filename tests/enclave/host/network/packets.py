"""Packets as an enclave might send them: one that may pass, and every way to differ from it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

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
