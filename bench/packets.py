"""The packets' way of an enclave beside socat, in one run: network namespaces, TUN devices, nft.

A client in the world downloads from a guest that relays packets as a standard image does, uploads
to it, and then downloads over socat from a service on an abstract Unix socket, by which bytes went
before. CPU is of the process that carries them: the lane's has the kernel's forwarding of each
packet from the enclave in it. Needs root, iproute2, nft and socat.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.figure import Figure, NotRun
from bench.forwarder import cpu_seconds, pss_kib
from devnet.guest.namespaces import INSTANCE, WORLD, Scene, scene, why_not
from enclave.host.network import raw
from enclave.host.network.orders import ENCLAVE_ADDRESS, Orders, Packets, Serving
from enclave.host.network.wires import DEVICE

DOWNLOAD_BYTES = 256 << 20
RAW_BYTES = 64 << 20
CONNECTIONS = 1000
_THEIRS = 61_500  # of the host's own ports, which packets are not translated from
_MIB, _GBIT = 1 << 20, 1e9 / 8
_NOTHING = hashlib.sha256(b"").hexdigest()
_ORDERS = Orders(88, serving=Serving(ENCLAVE_ADDRESS, "0x1", "", _NOTHING), packets=Packets())
_PATIENCE_SECONDS = 30.0
_NO_DEVICE = "/dev/net/none"
# ethtool.h: a peer in these namespaces leaves checksums and cutting to a card that is none.
_OF_THE_CARD = (0x17, 0x1F, 0x24)


def run() -> list[Figure]:
    missing = why_not() or (None if shutil.which("socat") else "needs socat")
    if missing:
        raise NotRun(missing)
    with _scene(DEVICE) as one:
        figures = _figures(one)
    with _scene(_NO_DEVICE) as one:
        return [*figures, *_raw_figures(one)]


@contextmanager
def _scene(tun: str) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as folder, scene(Path(folder)) as one:
        os.environ.update(OYSTER_HOST_VSOCK=one.prefix, OYSTER_HOST_TUN=tun)
        try:
            yield one
        finally:
            del os.environ["OYSTER_HOST_VSOCK"], os.environ["OYSTER_HOST_TUN"]


def _raw_figures(one: Scene) -> list[Figure]:
    """By raw sockets, where a machine has no TUN: each packet alone, and none put together."""
    far = "oyw" + one.prefix.rpartition("/")[2]
    for setting in _OF_THE_CARD:
        one.world.call(partial(raw.set_offload, far, setting, 0))
    _bring_up(one)
    pid, download = one.instance.call(one.keeper.pid), f"GET /bytes?count={RAW_BYTES} HTTP/1.0"
    _, cpu = _measured(lambda: _downloads(one, 80, f"{download}\r\n\r\n", RAW_BYTES), [pid])
    _, up_cpu = _measured(lambda: _uploads(one, RAW_BYTES), [pid])
    return [
        Figure("one core carries, raw sockets", RAW_BYTES / _GBIT / cpu, "Gbit/s",
               note="where no TUN can be had"),
        Figure("one core carries, raw sockets, to the enclave", RAW_BYTES / _GBIT / up_cpu,
               "Gbit/s"),
    ]  # fmt: skip


def _figures(one: Scene) -> list[Figure]:
    _bring_up(one)
    pid = one.instance.call(one.keeper.pid)
    download = f"GET /bytes?count={DOWNLOAD_BYTES} HTTP/1.0\r\n\r\n"
    wall, cpu = _measured(lambda: _downloads(one, 80, download), [pid])
    _, up_cpu = _measured(lambda: _uploads(one), [pid])
    memory, answered = _crowd(one, pid)
    with _socat(one) as pids:
        their_wall, their_cpu = _measured(lambda: _downloads(one, _THEIRS, "GET"), pids)
    mib = DOWNLOAD_BYTES / _MIB
    beside = f"{mib / wall:.0f} MiB/s, socat {mib / their_wall:.0f}"
    return [
        Figure("one core carries", DOWNLOAD_BYTES / _GBIT / cpu, "Gbit/s", 1.0, note=beside),
        Figure("bytes a CPU second", their_cpu / cpu, "x socat", 0.8, their_cpu / cpu),
        Figure("one core carries, to the enclave", DOWNLOAD_BYTES / _GBIT / up_cpu, "Gbit/s", 1.0,
               note="packet by packet"),
        Figure("memory, 1,000 connections", memory, "MiB", 40.0, None, True),
        Figure("1,000 connections, answered", answered, "", CONNECTIONS, answered / CONNECTIONS),
    ]  # fmt: skip


def _bring_up(one: Scene) -> None:
    if not one.order(_ORDERS).ready:
        raise NotRun(one.order(_ORDERS).words or "the packets' way did not come up")
    one.start_guest()
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            one.world.call(lambda: _connected(80).close())
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NotRun("the guest does not answer")


def _connected(port: int) -> socket.socket:
    return socket.create_connection((INSTANCE, port), _PATIENCE_SECONDS, (WORLD, 0))


def _measured(carries: Callable[[], None], pids: list[int]) -> tuple[float, float]:
    """Seconds on the wall and of CPU that it takes."""
    start, used = time.perf_counter(), _cpu(pids)
    carries()
    return time.perf_counter() - start, _cpu(pids) - used


def _downloads(one: Scene, port: int, ask: str, count: int = DOWNLOAD_BYTES) -> None:
    def download() -> None:
        with _connected(port) as sock:
            sock.sendall(ask.encode())
            left, buffer = count, bytearray(_MIB)
            while left > 0:
                got = sock.recv_into(buffer)
                if not got:
                    raise NotRun(f"the download over {port} was cut off")
                left -= got

    one.world.call(download)


def _uploads(one: Scene, count: int = DOWNLOAD_BYTES) -> None:
    def upload() -> None:
        with _connected(80) as sock:
            sock.sendall(f"POST / HTTP/1.0\r\nContent-Length: {count}\r\n\r\n".encode())
            for _ in range(count // _MIB):
                sock.sendall(bytes(_MIB))
            if not sock.recv(1):
                raise NotRun("the upload was cut off")

    one.world.call(upload)


def _children(pid: int) -> list[int]:
    """What makes its devices."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu(pids: list[int]) -> float:
    return sum(map(cpu_seconds, pids))


def _crowd(one: Scene, pid: int) -> tuple[float, int]:
    """Memory with 1,000 connections open, and how many of them were answered."""

    def crowd() -> tuple[float, int]:
        with ExitStack() as stack:
            socks = [stack.enter_context(_connected(80)) for _ in range(CONNECTIONS)]
            memory = sum(map(pss_kib, [pid, *_children(pid)])) / 1024
            for sock in socks:
                sock.sendall(b"GET /x HTTP/1.0\r\n\r\n")
            return memory, sum(bool(sock.recv(1)) for sock in socks)

    return one.world.call(crowd)


@contextmanager
def _socat(one: Scene) -> Iterator[list[int]]:
    """One process without fork: all of its CPU is that of the download."""
    name = f"{one.prefix}/socat"
    listener = one.instance.call(lambda: _listening(f"\0{name}"))
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    command = ["socat", f"TCP-LISTEN:{_THEIRS},reuseaddr", f"ABSTRACT-CONNECT:{name}"]
    process = one.instance.call(lambda: subprocess.Popen(command))
    try:
        _until(lambda: _listens(one))
        yield [process.pid]
    finally:
        process.kill()
        process.wait()
        listener.close()


def _listening(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    return listener


def _serve(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(16)
        for _ in range(DOWNLOAD_BYTES // _MIB):
            sock.sendall(bytes(_MIB))


def _listens(one: Scene) -> bool:
    rows = one.instance.call(lambda: Path("/proc/thread-self/net/tcp").read_text())
    return f":{_THEIRS:04X} " in rows


def _until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not reached():
        if time.monotonic() > end:
            raise NotRun("socat does not listen")
        time.sleep(0.02)
