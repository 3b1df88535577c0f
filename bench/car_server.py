"""A gateway as fast as the kernel: one CAR from a file by sendfile, at a given rate or unbounded.

`python -m bench.car_server CAR ROOT RATE_MB` prints its port. It also gives the root as a raw
block, which is the second frame of the CAR. One process, so that it has a core to itself.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

from enclave.ipfs.car import CarReader
from enclave.ipfs.gateway import CAR_TYPE, RAW_TYPE

_SLICE_BYTES = 256 << 10


def main(car: Path, rate_mb: float) -> None:
    with car.open("rb") as file:
        _, root = next(CarReader().feed(file.read(2 << 20)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, car, root, rate_mb), daemon=True).start()


def _serve(client: socket.socket, car: Path, root: bytes, rate_mb: float) -> None:
    with client, car.open("rb") as file:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65_536)
        as_car = b"format=car" in request.split(b"\r\n")[0]
        size = os.fstat(file.fileno()).st_size if as_car else len(root)
        kind = CAR_TYPE if as_car else RAW_TYPE
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
        client.sendall(f"{head}Connection: close\r\n\r\n".encode())
        if as_car:
            _send_file(client, file.fileno(), size, rate_mb)
        else:
            client.sendall(root)


def _send_file(client: socket.socket, file: int, size: int, rate_mb: float) -> None:
    sent, begun = 0, time.perf_counter()
    while sent < size:
        sent += os.sendfile(client.fileno(), file, sent, min(_SLICE_BYTES, size - sent))
        ahead = sent / (rate_mb * 1e6) - (time.perf_counter() - begun) if rate_mb else 0
        if ahead > 0:
            time.sleep(ahead)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
