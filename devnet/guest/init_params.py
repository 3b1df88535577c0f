"""What a standard image ("blue") does at its start: ask the host, check, extend PCR16, or end.

It has CID 88, asks the init server on vsock 3:1300 by HTTP/1.1 for its address, its params and
its job, and ends at the first answer that is not 200. The digest of the params goes into PCR16.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enclave.attest.init_params import pcr16_of

STANDARD_CID = 88
INIT_PORT = 1300
_ASK_SECONDS = 5.0
_PATHS = {"ip": "/instance/ip", "params": "/oyster/init-params", "job": "/oyster/job"}


@dataclass(frozen=True)
class Asked:
    """The registers that follow, and what was told."""

    registers: dict[int, str]
    told: dict[str, str]


def asked(server: str) -> Asked:
    """From the init server at this (simulated) vsock address. Raises OSError when it does not serve
    as it must."""
    got = {name: _get(server, path) for name, path in _PATHS.items()}
    told = {"ip": got["ip"].decode(), "job": got["job"].decode()}
    if not got["params"]:
        return Asked({}, told)
    return Asked({16: pcr16_of(_digest(got["params"]))}, told)


def _digest(params: bytes) -> bytes:
    """The digest that the params name, after the attested ones among them were summed up anew."""
    try:
        said = json.loads(params)
        digest = base64.b64decode(said["digest"], validate=True)
        parts = [_summed(one) for one in said["params"] if one.get("should_attest", True)]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"the init params are none: {error!r}") from error
    if hashlib.sha256(b"".join(parts)).digest() != digest:
        raise OSError("the init params have another digest than they say")
    return digest


def _summed(one: dict[str, Any]) -> bytes:
    path = ("/init-params/" + one["path"]).encode()
    body = base64.b64decode(one["contents"], validate=True)
    lengths = len(path).to_bytes(8, "little"), len(body).to_bytes(8, "little")
    return hashlib.sha256(lengths[0] + path + lengths[1] + body).digest()


def written(parts: Mapping[str, bytes]) -> bytes:
    """Init params as a user of a standard image writes them, all of them attested."""
    params = [
        {"path": path, "contents": base64.b64encode(body).decode()} for path, body in parts.items()
    ]
    summed = b"".join(_summed(one) for one in params)
    digest = base64.b64encode(hashlib.sha256(summed).digest()).decode()
    return json.dumps({"digest": digest, "params": params}).encode()


class _Wire(http.client.HTTPConnection):
    """HTTP over what stands for vsock."""

    def __init__(self, server: str) -> None:
        super().__init__("vsock")
        self._server = server

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ASK_SECONDS)
        self.sock.connect(self._server)


def _get(server: str, path: str) -> bytes:
    wire = _Wire(server)
    try:
        wire.request("GET", path)
        response = wire.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error!r}") from error
    finally:
        wire.close()
    if response.status != 200:
        raise OSError(f"{path}: HTTP {response.status}")
    return body
