"""Where this machine's network is: the kernel's vsock and all of its addresses.

Like AWS_ENDPOINT_URL for AWS, variables of the environment let something else stand for it:
OYSTER_HOST_VSOCK names a prefix of abstract Unix sockets (unix(7)) that stand for vsock ports,
OYSTER_HOST_ADDRESSES a file with a JSON list of the addresses that are this machine's. Where that
is so there is no TUN device, which would be that of whoever simulates, unless OYSTER_HOST_TUN names
it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The parent's own context id, by which an enclave reaches it (Nitro Enclaves User Guide, vsock).
PARENT_CID = 3
# vsock(7); numbers, since a Python may be built without them.
_AF_VSOCK = 40
_CID_ANY = 0xFFFFFFFF
# The kernel takes the lesser of this and net.core.somaxconn (4096).
BACKLOG = 4096
DEVICE = "/dev/net/tun"
_VSOCK = "OYSTER_HOST_VSOCK"


@dataclass(frozen=True)
class Wires:
    """`stand_in`: prefix of the sockets that stand for vsock ports; empty: vsock itself.
    `addresses`: the file with this machine's addresses; None: all that there are.
    `tun`: where TUN devices are made; None: nowhere."""

    stand_in: str = ""
    addresses: Path | None = None
    tun: str | None = DEVICE

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Wires:
        """As the environment says; a machine's own where it says nothing."""
        file, stand_in = environment.get("OYSTER_HOST_ADDRESSES"), environment.get(_VSOCK, "")
        tun = environment.get("OYSTER_HOST_TUN", None if stand_in else DEVICE)
        return cls(stand_in, Path(file) if file else None, tun)

    def listening_addresses(self) -> tuple[str, ...]:
        """Where a TCP port is opened. A file that is just being replaced names none."""
        if self.addresses is None:
            return ("0.0.0.0",)  # noqa: S104 - the ports are for the world
        try:
            return tuple(map(str, json.loads(self.addresses.read_text())))
        except (OSError, ValueError, TypeError):
            return ()

    def listen_tcp(self, address: str, port: int) -> socket.socket:
        """Raises OSError with the kernel's reason."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _listening(listener, (address, port))

    def listen_vsock(self, port: int) -> socket.socket:
        """What the enclave reaches as `3:port`. Raises OSError."""
        here = self.vsock_address(PARENT_CID if self.stand_in else _CID_ANY, port)
        return _listening(self.vsock(), here)

    def vsock(self) -> socket.socket:
        """A socket to be connected to a `vsock_address`. Raises OSError."""
        return socket.socket(socket.AF_UNIX if self.stand_in else _AF_VSOCK, socket.SOCK_STREAM)

    def vsock_address(self, cid: int, port: int) -> Any:
        return f"\0{self.stand_in}/{cid}/{port}" if self.stand_in else (cid, port)


def peer_cid(address: object) -> int | None:
    """Who connected over vsock; None where something else stands for it."""
    return int(address[0]) if isinstance(address, tuple) else None


def _listening(listener: socket.socket, address: Any) -> socket.socket:
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
