"""Verified and measured fetches against curl, which takes the same CAR and looks at nothing.

Loopback, a gateway in its own process, runs taken in turns, the best of five of each: whatever
else the machine does can only add. The image is random
bytes in a valid enclave image, so no block repeats. curl writes to the same disk; it does not
flush, the fetch does. Helia's verified-fetch is no part of the run: its speed is a recorded one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure
from devnet.ipfs.blocks import Blocks
from enclave.cid import Cid
from enclave.eif.writer import ImageSpec, build
from enclave.ipfs.car import car_frame, car_header

MIB = 1 << 20
GIGABIT_MB = 125.0
ROUNDS = 5
# Measured once on such a machine (64 MiB, loopback); its packages want a newer Node than Debian's.
HELIA_MB = 29.0


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as name:
        folder = Path(name)
        cid = _make_car(folder / "256.car", 256)
        figures = [
            *_against_curl(folder, cid, "at 125 MB/s", GIGABIT_MB, 0.9),
            *_against_curl(folder, cid, "unthrottled", 0, 0.5),
        ]
        (folder / "256.car").unlink()
        return [*figures, _memory_at_1_gib(folder)]


def _against_curl(folder: Path, cid: Cid, name: str, rate_mb: float, target: float) -> list[Figure]:
    curl, ours, above = [], [], []
    with _gateway(folder / "256.car", rate_mb) as url:
        for _ in range(ROUNDS):
            curl.append(_curl(f"{url}/ipfs/{cid}?format=car", folder / "curl.car"))
            once = _fetch(url, cid, folder / "image.eif")
            ours.append(once["seconds"])
            above.append(once["above_mib"])
    peer, mine = min(curl), min(ours)
    speed = f"curl {256 * MIB / peer / 1e6:.0f} MB/s, fetch {256 * MIB / mine / 1e6:.0f} MB/s"
    speed += f", load {os.getloadavg()[0]:.1f}"
    mine_mb = 256 * MIB / mine / 1e6
    helia = Figure("against Helia", mine_mb / HELIA_MB, "x recorded 29 MB/s", 4, mine_mb / HELIA_MB)
    return [
        *([] if rate_mb else [helia]),
        Figure(f"fetch 256 MiB {name}", peer / mine, "x curl", target, peer / mine, note=speed),
        Figure(f"peak RSS {name}", max(above), "MiB above idle", 60, at_most=True),
    ]


def _memory_at_1_gib(folder: Path) -> Figure:
    cid = _make_car(folder / "1024.car", 1024)
    with _gateway(folder / "1024.car", 0) as url:
        once = _fetch(url, cid, folder / "image.eif")
    speed = f"{1024 * MIB / once['seconds'] / 1e6:.0f} MB/s"
    return Figure("peak RSS, 1 GiB", once["above_mib"], "MiB above idle", 60, None, True, speed)


def _curl(url: str, target: Path) -> float:
    curl = shutil.which("curl")
    if curl is None:
        raise SystemExit("error: the bench compares with curl; install it")
    begun = time.perf_counter()
    subprocess.run([curl, "-sS", "--fail", "-o", str(target), url], check=True)
    return time.perf_counter() - begun


def _fetch(url: str, cid: Cid, target: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.fetch_once", url, str(cid), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


@contextmanager
def _gateway(car: Path, rate_mb: float) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.car_server", str(car), str(rate_mb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def _make_car(path: Path, size_mib: int) -> Cid:
    """A CAR of an image of about this size; blocks go to the file and are forgotten."""
    blocks = Blocks()
    kernel, first, second = (os.urandom(size_mib * MIB * part // 16) for part in (1, 3, 12))
    image = build(ImageSpec(kernel=kernel, cmdline=b"reboot=k", ramdisks=[first, second]))
    del kernel, first, second
    part = blocks.add_file(image)
    del image
    with path.open("wb") as file:
        file.write(car_header(part.cid))
        for cid, block in blocks.walk(part.cid):
            file.write(car_frame(cid, block))
    return part.cid
