"""Stands for one running enclave: measures its image for real, then serves attestation and echo.

Not an enclave: a plain process that anybody on this machine can read. Its documents are signed
under the simulated root. Port 1300 answers `/attestation/raw` (query: nonce, user_data and
public_key in hex); port 8080 answers any GET with a few words as JSON and echoes a POST.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from devnet.guest import init_params, place, records
from devnet.guest.nsm import Misbehaviour, Request, SimulatedEnclave, SimulatedNsm
from enclave.eif.measure import Measured
from faults import Refused

ATTESTATION_PORT = 1300
ECHO_PORT = 8080


class Enclave:
    """What runs, as the service threads see it."""

    def __init__(self, order: dict[str, Any], measured: Measured) -> None:
        machine = place.machine()
        self.order, self.measured = order, measured
        self._init: init_params.Asked | None = None
        if order["cid"] == init_params.STANDARD_CID:
            server = place.vsock(machine["instance_id"], place.PARENT_CID, init_params.INIT_PORT)
            self._init = init_params.asked(server)
        self.instance_id = str(machine["instance_id"])
        self._nsm = SimulatedNsm.open(Path(machine["nsm"]), region=machine["region"])
        self._seen = SimulatedEnclave(
            self.instance_id,
            {**measured.pcrs, **(self._init.registers if self._init else {})},
            enclave_number=int(order["id"].rpartition("enc")[2], 16),
            debug=bool(order["debug"]),
        )

    @property
    def init(self) -> dict[str, str] | None:
        """What the host told it, for who looks."""
        return self._init.told if self._init else None

    def attest(self, request: Request) -> bytes:
        """A document, honest unless the devnet's faults say otherwise."""
        lie = Misbehaviour[place.faults().get("lie", "NONE")]
        return self._nsm.attest(self._seen, now=time.time(), request=request, misbehave=lie)


def main() -> None:
    """Boot as ordered, say so on standard output, serve until killed."""
    if sys.argv[1] == "--describe":
        sys.stdout.write(json.dumps(records.described(Path(sys.argv[2])), indent=2) + "\n")
        return
    order = json.loads(sys.argv[1])
    try:
        measured = records.measured_to_boot(order)
        enclave = Enclave(order, measured)
    except (Refused, OSError) as error:
        records.say({"error": f"Waiting on enclave to boot failed: {error}"})
        return
    records.write(order, measured, "EMPTY", os.getpid())
    time.sleep(place.machine()["timings"]["enclave_boot"])
    _serve(enclave, ATTESTATION_PORT, _Attestation)
    _serve(enclave, ECHO_PORT, _Echo)
    records.say(records.write(order, measured, "RUNNING", os.getpid()))
    threading.Event().wait()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    enclave: Enclave


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """No log."""

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Attestation(_Handler):
    def do_GET(self) -> None:
        """`/attestation/raw` and `/attestation/hex`."""
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path not in ("/attestation/raw", "/attestation/hex"):
            self.send_error(404)
            return
        try:
            asked = {name: bytes.fromhex(query[name]) for name in query}
            document = self.server.enclave.attest(Request(**asked))
        except (ValueError, TypeError) as error:
            self.send_error(400, str(error))
            return
        raw = parts.path.endswith("raw")
        self._answer(document if raw else document.hex().encode(), "application/octet-stream")


class _Echo(_Handler):
    def do_GET(self) -> None:
        """Who this is."""
        enclave = self.server.enclave
        said = {
            "simulated": True,
            "image_sha256": enclave.measured.sha256,
            "instance_id": enclave.instance_id,
            "path": self.path,
            "init": enclave.init,
        }
        self._answer(json.dumps(said).encode(), "application/json")

    def do_POST(self) -> None:
        """The body back."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))), "text/plain")


def _serve(enclave: Enclave, port: int, handler: type[_Handler]) -> None:
    address = place.vsock(enclave.instance_id, enclave.order["cid"], port)
    server = _Server(address, handler)
    server.enclave = enclave
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    main()
