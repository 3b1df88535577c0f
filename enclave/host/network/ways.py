"""The two ways: TCP of the world into the enclave, and from the enclave to a configured name."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from enclave.host.documents import Egress, Port
from enclave.host.network.joint import Joint
from enclave.host.network.lane import CONNECT_SECONDS, Attempt, Lane, World
from enclave.host.network.names import Found
from enclave.host.network.wires import peer_cid

# Addresses of one name that are tried for one connection.
MOST_ADDRESSES = 4
# A name that led nowhere is asked again, so that the error goes when it does.
ASK_AGAIN_SECONDS = 10.0


class Inward(Lane):
    """TCP `listen` on this machine to vsock `enclave` of the enclave."""

    def __init__(self, world: World, name: str, cid: int, port: Port) -> None:
        super().__init__(world, name, cid)
        self._port = port

    def _places(self) -> dict[str, Callable[[], socket.socket]]:
        wires, port = self._world.wires, self._port.listen

        def at(address: str) -> Callable[[], socket.socket]:
            return lambda: wires.listen_tcp(address, port)

        addresses = wires.listening_addresses()
        return {f"TCP {address}:{port}": at(address) for address in addresses}

    def _source(self, address: Any) -> str | None:
        return str(address[0])

    def _reach(self, joint: Joint) -> None:
        wires = self._world.wires
        self._connect(joint, wires.vsock, wires.vsock_address(self._cid, self._port.enclave))

    def _bytes_in_and_out(self) -> tuple[int, int]:
        near, far = self._bytes()
        return near, far


class Outward(Lane):
    """Vsock `enclave` of this machine to `host`:`port`, for this enclave alone."""

    def __init__(self, world: World, name: str, cid: int, way: Egress) -> None:
        super().__init__(world, name, cid)
        self._way = way
        self._ask_at = 0.0

    def tick(self, now: float) -> None:
        """Ask for the name before somebody needs it, so that a wrong one is said at once."""
        super().tick(now)
        if now >= self._ask_at:
            self._ask_at = now + ASK_AGAIN_SECONDS
            self._world.names.find(self._way.host, self._note)

    def _note(self, found: Found) -> None:
        if found.error is None:
            self.problems.pop("name", None)
            self._ask_at = float("inf")
        else:
            self.problems["name"] = found.error
            self._ask_at = self._world.clock() + ASK_AGAIN_SECONDS

    def _places(self) -> dict[str, Callable[[], socket.socket]]:
        way, wires = self._way, self._world.wires
        return {f"vsock {way.enclave}": lambda: wires.listen_vsock(way.enclave)}

    def _source(self, address: Any) -> str | None:
        cid = peer_cid(address)
        return "enclave" if cid in (None, self._cid) else None

    def _reach(self, joint: Joint) -> None:
        self._world.names.find(self._way.host, lambda found: self._found(joint, found))

    def _found(self, joint: Joint, found: Found) -> None:
        self._note(found)
        attempt = self._attempts.get(joint)
        if attempt is None:
            return  # it ended meanwhile
        attempt.left = found.addresses[:MOST_ADDRESSES]
        self._try_next(joint, attempt, found.error or "no address")

    def _try_next(self, joint: Joint, attempt: Attempt, error: str) -> None:
        if not attempt.left:
            super()._failed(joint, error)
            return
        address, attempt.left = attempt.left[0], attempt.left[1:]
        attempt.until = self._world.clock() + CONNECT_SECONDS
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._connect(
            joint, lambda: socket.socket(family, socket.SOCK_STREAM), (address, self._way.port)
        )

    def _failed(self, joint: Joint, error: str) -> None:
        attempt = self._attempts[joint]
        if attempt.sock is not None:
            where = f"{self._way.host}:{self._way.port} at {attempt.address[0]}"
            self.problems["reach"] = f"{where}: {error}"
        self._drop(attempt)
        self._try_next(joint, attempt, error)

    def _connected(self, joint: Joint, attempt: Attempt) -> None:
        self.problems.pop("reach", None)
        super()._connected(joint, attempt)

    def _bytes_in_and_out(self) -> tuple[int, int]:
        near, far = self._bytes()
        return far, near
