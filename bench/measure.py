"""Measuring a local image against one hashlib SHA-384 pass over the same file.

PCR0 covers every ramdisk and PCR2 the later ones again, so an image as nitro-cli builds it, nearly
all of it in its second ramdisk, needs two SHA-384 passes and a CRC: 2.2 passes of work, which only
two free cores can do in about the time of one. So the run also says how much two threads of
hashlib get done here beside one: on a machine that lends the time of one core, half is the most.
Runs are taken in turns; medians.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.figure import Figure
from enclave.eif.measure import inspect_file, measure_file
from enclave.eif.writer import ImageSpec, build

MIB = 1 << 20
ROUNDS = 5
_IMAGE_MIB = 256


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as folder:
        path = Path(folder) / "image.eif"
        _write(path, ramdisks=2)
        figures = _two_ramdisks(path)
        _write(path, ramdisks=1)
        return [*figures, _one_ramdisk(path)]


def _two_ramdisks(path: Path) -> list[Figure]:
    peer, ours, whole, pair = [], [], [], []
    for _ in range(ROUNDS):
        peer.append(_timed(lambda: _hashlib_pass(path)))
        ours.append(_timed(lambda: inspect_file(path)))
        whole.append(_timed(lambda: measure_file(path)))
        pair.append(_timed(lambda: _two_passes(path)))
    one = statistics.median(each.wall for each in peer)
    cores = 2 * one / statistics.median(each.wall for each in pair)
    work = statistics.median(each.cpu for each in ours) / statistics.median(e.cpu for e in peer)
    measuring = _ratio("measure 256 MiB", one, ours, f"two threads did {cores:.2f} x one here")
    share = measuring.value / min(1, cores / 2)
    return [
        measuring,
        Figure("measure, of what cores allow", share, "x two passes", 0.9, note="both in this run"),
        _ratio("measure and SHA-256", one, whole, "as a fetch does; no target", target=None),
        Figure("work of measuring", work, "SHA-384 passes", 2.4, None, True, "CPU time"),
    ]


def _one_ramdisk(path: Path) -> Figure:
    peer, ours = [], []
    for _ in range(ROUNDS):
        peer.append(_timed(lambda: _hashlib_pass(path)))
        ours.append(_timed(lambda: inspect_file(path)))
    one = statistics.median(each.wall for each in peer)
    return _ratio("measure 256 MiB, one ramdisk", one, ours, "PCR0 and PCR1 are one pass then")


class _Timed:
    """Seconds on the wall and of CPU."""

    def __init__(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = wall, cpu


def _timed(action: Callable[[], object]) -> _Timed:
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return _Timed(time.perf_counter() - wall, time.process_time() - cpu)


def _ratio(
    name: str, one: float, ours: list[_Timed], note: str, *, target: float | None = 0.9
) -> Figure:
    mine = statistics.median(each.wall for each in ours)
    speed = f"hashlib {_IMAGE_MIB * MIB / one / 1e6:.0f} MB/s, ours "
    speed += f"{_IMAGE_MIB * MIB / mine / 1e6:.0f}; {note}"
    return Figure(name, one / mine, "x hashlib", target, one / mine, note=speed)


def _hashlib_pass(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha384")


def _two_passes(path: Path) -> None:
    threads = [threading.Thread(target=_hashlib_pass, args=(path,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(path: Path, *, ramdisks: int) -> None:
    """The shape that nitro-cli makes: a kernel, a small init ramdisk, the rest in the second."""
    kernel, rest = os.urandom(11 * MIB), os.urandom((_IMAGE_MIB - 12) * MIB)
    parts = [os.urandom(MIB), rest] if ramdisks == 2 else [rest]
    path.write_bytes(build(ImageSpec(kernel=kernel, cmdline=b"reboot=k panic=30", ramdisks=parts)))
