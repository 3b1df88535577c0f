"""An enclave that boots, for the tests that meet one, and why there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cbor2

from devnet.nitro import parts
from devnet.nitro.build import needs
from devnet.nitro.machine import Machine, Order, booted
from devnet.nitro.parts import Parts

INSTANCE = "i-0123456789abcdef0"
MODULE = f"{INSTANCE}-enc0123456789abcdef"
BOOT_SECONDS = 120


def why_not(*, of_all: bool = True) -> str:
    """Why no enclave is booted here; empty when one is. `of_all`: only when that is what is run."""
    if "OYSTER_REAL_NITRO" in os.environ:
        return "" if parts.built() else needs()
    if of_all or "OYSTER_REAL" not in os.environ:
        return "takes minutes: make real-nitro"
    return "" if parts.built() else "not built here: make real-nitro"


@dataclass(frozen=True)
class Enclave:
    """One that runs, and what its image is."""

    image: Path
    machine: Machine

    def ask(self, port: int, request: str, body: bytes = b"") -> bytes:
        """The whole answer to one HTTP request."""
        with self.machine.connect(port) as wire:
            wire.settimeout(60)
            wire.sendall(request.encode() + b"\r\n\r\n" + body)
            return b"".join(iter(lambda: wire.recv(1 << 16), b""))

    def document(self, query: str = "") -> dict[str, Any]:
        """What the module says, as it is: QEMU signs nothing."""
        answer = self.ask(1300, f"GET /attestation/raw{query} HTTP/1.1")
        _, _, payload, _ = cbor2.loads(answer.partition(b"\r\n\r\n")[2])
        return dict(cbor2.loads(payload))


@contextmanager
def running(made: Parts, image: Path) -> Iterator[Enclave]:
    """It runs inside, and signs nothing. Raises NotBooted."""
    console = image.with_suffix(".console")
    order = Order(image, INSTANCE, MODULE, 16, 2, 512, console, signed=False)
    with (
        TemporaryDirectory(dir=image.parent) as folder,
        booted(made, Path(folder), order, BOOT_SECONDS) as machine,
    ):
        yield Enclave(image, machine)
