"""What a standard image asks its host for at its start: HTTP/1.1 on vsock 3:1300.

Paths and status codes are those of Marlin's images: `/instance/ip`, `/oyster/init-params` (200 even
when empty), `/oyster/job`, and `/oyster/extra-init-params` (500, since there are none). One answer
that is not 200 ends such an image, so the server is up before its enclave, and serves nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from enclave.host.network.http import Answer, Server
from enclave.host.network.loop import Loop
from enclave.host.network.orders import Serving
from enclave.host.network.wires import Wires, peer_cid

PORT = 1300
MOST_ASKING = 16


class Unverified(Exception):
    """The params on disk are not those that were ordered."""


def contents(serving: Serving) -> Mapping[str, bytes]:
    """What is served, by path. Raises OSError, Unverified."""
    params = Path(serving.params).read_bytes() if serving.params else b""
    if hashlib.sha256(params).hexdigest() != serving.sha256:
        raise Unverified("the init params have another digest than desired.json says")
    return {
        "/instance/ip": serving.address.encode(),
        "/oyster/init-params": params,
        "/oyster/job": serving.job.encode(),
    }


def respond(path: str, served: Mapping[str, bytes]) -> Answer:
    """The answer to a path."""
    path = path.partition("?")[0]
    if path == "/oyster/extra-init-params":
        return Answer(500, b"no extra init params\n")
    if path not in served:
        return Answer(404, b"not served here\n")
    return Answer(200, served[path], "application/octet-stream")


class InitServer:
    """Serves one enclave, known by its context id. For the loop's thread."""

    def __init__(
        self, loop: Loop, wires: Wires, clock: Callable[[], float], cid: int, serving: Serving
    ) -> None:
        self._wires, self._serving = wires, serving
        self._served: Mapping[str, bytes] = {}
        self._server = Server(
            loop,
            clock,
            lambda path: respond(path, self._served),
            most=MOST_ASKING,
            admits=lambda address: peer_cid(address) in (None, cid),
        )
        self.problem: str | None = None

    @property
    def ready(self) -> bool:
        """Whether an enclave may be started."""
        return self._server.listens

    def tick(self, now: float) -> None:
        """Listen, when what is to be served is verified; end who takes too long."""
        if not self._server.listens:
            self._open()
        self._server.tick(now)

    def _open(self) -> None:
        try:
            self._served = contents(self._serving)
            self._server.open([self._wires.listen_vsock(PORT)])
        except (OSError, Unverified) as error:
            self.problem = f"cannot serve the init params: {error}"
            return
        self.problem = None

    def close(self) -> None:
        """Another enclave, or none."""
        self._server.close()
