"""Stands for a standard image ("blue") with raw packets: a relay between vsock and its own device.

As such an image does: asks the init server, ends when it is not served, opens both packet streams
and makes them anew for ever, drops packets that are not for its address, and serves HTTP on 80, 443
and 1300 (`/attestation/raw`). Its network is a namespace of the kernel, its vsock what stands for
vsock in the devnet.
`/connect?to=HOST&port=N` says what becomes of a connection that the enclave makes.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from devnet.guest import init_params
from devnet.guest.nsm import SimulatedEnclave, SimulatedNsm
from enclave.host.network.orders import HOST_ADDRESS
from enclave.host.network.tun import open_tun
from enclave.host.network.wires import DEVICE

STREAM_PORT = 1200
SERVED_PORTS = (80, 443, 1300)
_CLONE_NEWNET = 0x40000000
_CONNECT_SECONDS = 1.5
_SOME_IMAGE = dict.fromkeys((0, 1, 2), "ab" * 48)
BLOCK = hashlib.shake_128(b"a download").digest(1 << 18)
"""What a download of `/bytes` is made of: no part of it looks like another."""


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in the network namespace of that name (setns(2), ip-netns(8))."""
    there = Path("/run/netns") / namespace
    with Path("/proc/thread-self/ns/net").open("rb") as home, there.open("rb") as to:
        enter(to.fileno())
        try:
            yield
        finally:
            enter(home.fileno())


def enter(descriptor: int) -> None:
    """For the calling thread alone. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Guest:
    """The image, once it has what it asked for."""

    def __init__(self, prefix: str, namespace: str) -> None:
        self._prefix, self._namespace = prefix, namespace
        self._asked = init_params.asked(f"\0{prefix}/3/{init_params.INIT_PORT}")
        self._address = socket.inet_aton(self._asked.told["ip"])
        self._inside = f"\0{prefix}/{init_params.STANDARD_CID}/{STREAM_PORT}"
        self._outside = f"\0{prefix}/3/{STREAM_PORT}"
        with inside(namespace):
            self._tun = open_tun(self._asked.told["ip"], HOST_ADDRESS, DEVICE)
        os.set_blocking(self._tun, True)
        for order in (["link", "set", "lo", "up"], ["route", "add", "default", "dev", "oyster0"]):
            subprocess.run([shutil.which("ip") or "ip", "-n", namespace, *order], check=True)

    def run(self, nsm: Path) -> None:
        """Until killed."""
        nsm.mkdir(exist_ok=True)
        card = SimulatedNsm.open(nsm)
        registers = {**_SOME_IMAGE, **self._asked.registers}
        seen = SimulatedEnclave("i-0123456789abcdef0", registers)
        for port in SERVED_PORTS:
            with inside(self._namespace):
                server = _Server(("0.0.0.0", port), _Handler)  # noqa: S104 - a namespace of its own
            server.attest = lambda: card.attest(seen, now=time.time())
            server.namespace = self._namespace
            threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()
        self._receive()

    def _send(self) -> None:
        """Packets of the enclave; those that meet no stream are lost, as on any wire."""
        stream: socket.socket | None = None
        with contextlib.suppress(OSError):
            stream = self._connected()
        while True:
            data = os.read(self._tun, 1 << 16)
            try:
                stream = stream or self._connected()
                stream.sendall(data)
            except OSError:
                stream = None

    def _connected(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(self._outside)
        return stream

    def _receive(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._inside)
        listener.listen(8)
        while True:
            stream, _ = listener.accept()
            with stream, contextlib.suppress(OSError):
                self._take(stream)

    def _take(self, stream: socket.socket) -> None:
        left = b""
        while data := stream.recv(1 << 18):
            left += data
            while len(left) >= 20 and len(left) >= (length := int.from_bytes(left[2:4], "big")):
                packet, left = left[:length], left[length:]
                if packet[16:20] == self._address:
                    os.write(self._tun, packet)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2048
    attest: object
    namespace: str


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """No log."""

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == "/attestation/raw":
            assert callable(self.server.attest)
            self._say([self.server.attest()])
        elif parts.path == "/bytes":
            self._say([BLOCK] * (int(query["count"]) // len(BLOCK)))
        elif parts.path == "/connect":
            self._say([_outcome(self.server.namespace, query).encode()])
        else:
            self._say([self.path.encode()])

    def do_POST(self) -> None:
        """Takes whatever comes, and says its CRC-32."""
        left, crc = int(self.headers["Content-Length"]), 0
        while left and (data := self.rfile.read1(min(left, 1 << 18))):
            left, crc = left - len(data), zlib.crc32(data, crc)
        self._say([str(crc).encode()])

    def _say(self, blocks: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(sum(map(len, blocks))))
        self.end_headers()
        for block in blocks:
            self.wfile.write(block)


def _outcome(namespace: str, query: dict[str, str]) -> str:
    """What an application in the enclave sees that connects."""
    with inside(namespace), socket.socket() as sock:
        sock.settimeout(_CONNECT_SECONDS)
        try:
            if "source" in query:
                sock.bind(("0.0.0.0", int(query["source"])))  # noqa: S104 - of the namespace
            sock.connect((query["to"], int(query["port"])))
            return sock.recv(100).decode()
        except OSError as error:
            return type(error).__name__


def main() -> None:
    """`PREFIX NAMESPACE NSM-DIRECTORY`; a line on standard output when it serves."""
    guest = Guest(sys.argv[1], sys.argv[2])
    sys.stdout.write("up\n")
    sys.stdout.flush()
    guest.run(Path(sys.argv[3]))


if __name__ == "__main__":
    main()
