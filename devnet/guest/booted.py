"""Runs one enclave that boots, in the place of the process that stands for one (`enclave.py`).

The kernel and its driver are real, and so is what the security module measures; QEMU emulates the
hardware, and the module's signature, which QEMU leaves blank, is simulated here. The wires of the
simulated instance lead to the enclave's vsock and back.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cbor2

from devnet.guest import place, records
from devnet.guest.init_params import INIT_PORT, STANDARD_CID
from devnet.guest.nsm import Misbehaviour, SimulatedEnclave, SimulatedNsm
from devnet.nitro import parts
from devnet.nitro.machine import SIGNER_PORT, Machine, NotBooted, Order
from devnet.nitro.relay import connected, relay
from enclave.attest.cbor import CborRefused
from enclave.attest.cose import CoseRefused, parse
from enclave.attest.document import MAX_DOCUMENT_BYTES, pcr4_of
from enclave.eif.measure import Measured
from faults import Refused

# nitro-cli waits so long for the heartbeat, and with much memory longer.
BOOT_SECONDS = 180.0
# What the init of `devnet/nitro/guest` listens on; packets when it is a standard image.
SERVED_PORTS = (1300, 8080)
PACKET_PORT = 1200


class Signer:
    """Puts simulated signatures into the documents of one enclave, and into no other's."""

    def __init__(self, order: Mapping[str, Any], measured: Measured) -> None:
        machine = place.machine()
        self._nsm = SimulatedNsm.open(Path(machine["nsm"]), region=machine["region"])
        self._pcrs = {**measured.pcrs, 4: pcr4_of(machine["instance_id"])}
        self._seen = SimulatedEnclave(
            str(machine["instance_id"]),
            self._pcrs,
            enclave_number=int(order["id"].rpartition("enc")[2], 16),
            debug=bool(order["debug"]),
        )

    def signed(self, document: bytes) -> bytes:
        """The document of QEMU's module with a chain and a signature. Raises ValueError: it is of
        another enclave than this one."""
        try:
            said = cbor2.loads(parse(document).payload)
            same = all(said["pcrs"][n].hex() == value for n, value in self._pcrs.items())
        except (CoseRefused, CborRefused, KeyError, TypeError, cbor2.CBORDecodeError) as error:
            raise ValueError(f"no document of QEMU's module: {error!r}") from error
        if not same or said["module_id"] != self._seen.module_id:
            raise ValueError("a document of another enclave")
        lie = Misbehaviour[place.faults().get("lie", "NONE")]
        return self._nsm.sign(said, self._seen, now=time.time(), misbehave=lie)


def main() -> None:
    """Boot as ordered, say so on standard output, serve until the enclave ends."""
    order = json.loads(sys.argv[1])
    found = parts.built(Path(place.machine()["nitro"]))
    if found is None:
        records.say({"error": "what it is booted with was deleted since the devnet came up"})
        return
    try:
        measured = records.measured_to_boot(order)
    except (Refused, OSError) as error:
        records.say({"error": f"Waiting on enclave to boot failed: {error}"})
        return
    with tempfile.TemporaryDirectory(prefix="enclave-", dir=place.root() / "run") as folder:
        machine = Machine(found, Path(folder), _order(order))
        try:
            _run(machine, order, measured)
        except NotBooted as error:
            records.say({"error": f"Waiting on enclave to boot failed: {error}"})
        finally:
            machine.end()


def _run(machine: Machine, order: Mapping[str, Any], measured: Measured) -> None:
    _serve_parent(machine, order, Signer(order, measured))
    machine.start()
    records.write(order, measured, "EMPTY", machine.qemu.pid)
    machine.wait_until_up(BOOT_SECONDS)
    _lead_inward(machine, int(order["cid"]))
    records.say(records.write(order, measured, "RUNNING", machine.qemu.pid))
    machine.qemu.wait()


def _order(order: Mapping[str, Any]) -> Order:
    logs = place.root() / "var/log/nitro_enclaves"
    logs.mkdir(parents=True, exist_ok=True)
    return Order(
        image=Path(order["image"]).resolve(),
        instance_id=str(place.machine()["instance_id"]),
        module_id=order["id"],
        cid=int(order["cid"]),
        cpus=len(order["cpus"]),
        memory_mib=int(order["memory_mib"]),
        console=place.console(order["id"]),
    )


def _lead_inward(machine: Machine, cid: int) -> None:
    for port in (*SERVED_PORTS, *((PACKET_PORT,) if cid == STANDARD_CID else ())):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place.vsock(str(place.machine()["instance_id"]), cid, port))
        listener.listen(128)
        relay(listener, partial(machine.connect, port))


def _serve_parent(machine: Machine, order: Mapping[str, Any], signer: Signer) -> None:
    _answer(machine.listen(SIGNER_PORT), signer.signed)
    if order["cid"] == STANDARD_CID:
        for port in (INIT_PORT, PACKET_PORT):
            there = place.vsock(str(place.machine()["instance_id"]), place.PARENT_CID, port)
            relay(machine.listen(port), partial(connected, there))


def _answer(listener: socket.socket, signed: Callable[[bytes], bytes]) -> None:
    """Each connection has one document signed: four bytes of length and it, both ways."""

    def one(wire: socket.socket) -> None:
        with wire, wire.makefile("rwb") as stream:
            try:
                (size,) = struct.unpack(">I", stream.read(4))
                document = signed(stream.read(min(size, MAX_DOCUMENT_BYTES)))
            except (ValueError, struct.error) as error:
                sys.stderr.write(f"not signed: {error}\n")
                return
            stream.write(struct.pack(">I", len(document)) + document)
            stream.flush()

    def forever() -> None:
        while True:
            wire, _ = listener.accept()
            threading.Thread(target=one, args=(wire,), daemon=True).start()

    threading.Thread(target=forever, daemon=True).start()


if __name__ == "__main__":
    main()
