"""A TUN device: a link on which this program is the other end (tuntap.rst, netdevice(7)).

It is gone with its descriptor, so nothing is left behind by a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

NAME = "oyster0"
MTU = 9001  # of a standard image's own device
QUEUE_PACKETS = 1000

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0001, 0x1000, 0x4000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFDSTADDR = 0x8914, 0x8916, 0x8918
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943
_IFF_UP = 0x1
_ADDRESS, _NUMBER = "16sHH4s16x", "16si20x"


def open_tun(here: str, there: str, device: str, *, framed: bool = False) -> int:
    """A descriptor that gives one packet a read and takes one a write, each after a header of
    `superpacket` if it is `framed`. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    name = NAME.encode()
    try:
        order = struct.pack(
            "16sH22x", name, _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if framed else 0)
        )
        fcntl.ioctl(descriptor, _TUNSETIFF, order)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            _set_address(control, _SIOCSIFADDR, name, here)
            _set_address(control, _SIOCSIFDSTADDR, name, there)
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack(_NUMBER, name, MTU))
            fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack(_NUMBER, name, QUEUE_PACKETS))
            with suppress(OSError):  # a kernel without IPv6 sends none
                Path(f"/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6").write_text("1\n")
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, _IFF_UP))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _set_address(control: socket.socket, what: int, name: bytes, address: str) -> None:
    packed = struct.pack(_ADDRESS, name, socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, what, packed)
