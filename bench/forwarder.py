"""The forwarder at 1,000 connections, beside socat as it was used before, in the same run.

Both lead TCP of loopback to the same service on an abstract Unix socket, which stands for vsock.
Memory is the proportional set size of all processes (what the kernel keeps of each is not in it);
latency is from connect to the first byte of an answer while 1,000 connections are open; of 200
connects that come together those are counted that have theirs within five seconds.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.figure import Figure, NotRun
from enclave.host.config import Places
from enclave.host.documents import Port
from enclave.host.network.keeper import Keeper
from enclave.host.network.orders import Orders

CONNECTIONS = 1000
AT_ONCE = 200
AT_ONCE_SECONDS = 5.0
PROBES = 100
DOWNLOAD_BYTES = 1 << 30
_CID, _SERVICE = 16, 80
_OURS, _THEIRS = 28_471, 28_472
_PATIENCE_SECONDS = 120.0


class _Measured:
    """What one of the two did."""

    def __init__(self, port: int, pids: Callable[[], list[int]]) -> None:
        self.at_once = _answered_at_once(port)
        self.speed, self.cpu = _download(port, pids)
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                _asked(stack.enter_context(_connected(port)))
            self.memory_mib = sum(map(pss_kib, pids())) / 1024
            self.processes = len(pids())
            self.latency = statistics.median(_probe(port) for _ in range(PROBES))


def run() -> list[Figure]:
    if shutil.which("socat") is None:
        raise NotRun("socat is not installed")
    prefix = f"oyster-bench/{os.getpid()}"
    with _many_files(), _service(f"\0{prefix}/{_CID}/{_SERVICE}"):
        with _ours(prefix) as pids:
            ours = _Measured(_OURS, pids)
        with _socat(prefix) as pids:
            theirs = _Measured(_THEIRS, pids)
    return _figures(ours, theirs)


def _figures(ours: _Measured, theirs: _Measured) -> list[Figure]:
    def beside(name: str, mine: float, other: float, unit: str, note: str = "") -> Figure:
        said = f"socat {other:.4g} {unit}" + (f"; {note}" if note else "")
        return Figure(name, mine, unit, other, mine / other, at_most=True, note=said)

    mib = DOWNLOAD_BYTES / (1 << 20)
    return [
        beside("memory, 1,000 connections", ours.memory_mib, theirs.memory_mib, "MiB",
               f"{ours.processes} process, socat {theirs.processes}"),
        beside("first byte, 1,000 open", ours.latency * 1e3, theirs.latency * 1e3, "ms", "median"),
        Figure("200 at once, answered in 5 s", ours.at_once, "", AT_ONCE, ours.at_once / AT_ONCE,
               note=f"socat {theirs.at_once}: its backlog is 5"),
        beside("CPU of a download", ours.cpu / mib * 1e6, theirs.cpu / mib * 1e6, "us/MiB",
               f"{mib / ours.speed:.0f} MiB/s, socat {mib / theirs.speed:.0f}"),
    ]  # fmt: skip


@contextmanager
def _ours(prefix: str) -> Iterator[Callable[[], list[int]]]:
    os.environ["OYSTER_HOST_VSOCK"] = prefix
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as folder:
        keeper = Keeper(Places(Path(folder)))
        report = keeper.ensure(Orders(_CID, (Port(_OURS, _SERVICE),)), time.time())
        if report.words:
            raise NotRun(report.words)
        pid = keeper.pid()
        try:
            yield lambda: [pid]
        finally:
            os.kill(pid, signal.SIGKILL)
            del os.environ["OYSTER_HOST_VSOCK"]


@contextmanager
def _socat(prefix: str) -> Iterator[Callable[[], list[int]]]:
    """As the host program used it, but for the address family of the other side."""
    listen = f"TCP-LISTEN:{_THEIRS},fork,reuseaddr"
    connect = f"ABSTRACT-CONNECT:{prefix}/{_CID}/{_SERVICE}"
    with subprocess.Popen(["socat", listen, connect], start_new_session=True) as process:
        try:
            _until_open(_THEIRS)
            yield lambda: _group(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _service(address: str) -> Iterator[None]:
    """Answers each line with a byte, the line b'D' with a download."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(4096)
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(sock,), daemon=True).start()


def _talk(sock: socket.socket) -> None:
    block = bytes(1 << 20)
    with sock:
        try:
            while asked := sock.recv(1):
                for _ in range(DOWNLOAD_BYTES >> 20 if asked == b"D" else 0):
                    sock.sendall(block)
                if asked != b"D":
                    sock.sendall(b"!")
        except OSError:
            return


def _connected(port: int, patience: float = _PATIENCE_SECONDS) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), patience)


def _asked(sock: socket.socket) -> None:
    sock.sendall(b"?")
    sock.recv(1)


def _probe(port: int, patience: float = _PATIENCE_SECONDS) -> float:
    start = time.perf_counter()
    with _connected(port, patience) as sock:
        _asked(sock)
        return time.perf_counter() - start


def _answered_at_once(port: int) -> int:
    answered: list[float] = []

    def ask() -> None:
        with suppress(OSError):  # what is not answered in time is the figure
            answered.append(_probe(port, AT_ONCE_SECONDS))

    threads = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(answered)


def _download(port: int, pids: Callable[[], list[int]]) -> tuple[float, float]:
    """Seconds on the wall and of the forwarder's CPU."""
    with _connected(port) as sock:
        _asked(sock)
        start, used = time.perf_counter(), sum(map(cpu_seconds, pids()))
        sock.sendall(b"D")
        left, buffer = DOWNLOAD_BYTES, bytearray(1 << 20)
        while left:
            left -= sock.recv_into(buffer)
        return time.perf_counter() - start, sum(map(cpu_seconds, pids())) - used


def cpu_seconds(pid: int) -> float:
    """What a process has used so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_kib(pid: int) -> int:
    """A process's proportional set size; 0 when it is gone."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().split("\n")
    except OSError:
        return 0
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def _group(pgid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == pgid:
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found


def _until_open(port: int) -> None:
    for _ in range(500):
        try:
            _connected(port).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise NotRun(f"nothing listens on {port}")


@contextmanager
def _many_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(limits[0], wanted), limits[1]), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
