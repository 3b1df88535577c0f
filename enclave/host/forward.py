"""Port forwarders: socat for TCP into the enclave, vsock-proxy for what it may reach outside.

Each is a process of its own that outlives this program: a restart finds it by a small file (pid
and start time) and adopts it, so a user's connections are not cut. Everything on a command line
was checked by `documents` (numbers, a host name) and goes as an argument list.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from enclave.host.config import Places
from enclave.host.documents import Desired

# A forwarder that ends at once (its port is taken, a name is unknown) is not started again more
# often than this, and is complained of until it has lived so long: each change of what is said is
# a request to the bucket.
RETRY_SECONDS = 1.0
WELL_SECONDS = 30.0

# Runs in the new process: writes who it is, then becomes the forwarder (same pid, same start time).
# So there is no moment in which a forwarder runs that a restarted program could not find.
_BECOME = """
import json, os, sys
path, argv = sys.argv[1], sys.argv[2:]
start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
with open(path + ".new", "w") as file:
    json.dump({"pid": os.getpid(), "start": start, "argv": argv}, file)
os.replace(path + ".new", path)
os.execvp(argv[0], argv)
"""


@dataclass(frozen=True)
class Forwarder:
    """One process to keep alive; `key` names its file and never changes its meaning."""

    key: str
    argv: tuple[str, ...]


def wanted(desired: Desired, cid: int, proxy_config: Path) -> tuple[Forwarder, ...]:
    """What the enclave with this cid needs."""
    inward = (
        Forwarder(
            f"in-{port.listen}",
            (
                "socat",
                f"TCP-LISTEN:{port.listen},fork,reuseaddr",
                f"VSOCK-CONNECT:{cid}:{port.enclave}",
            ),
        )
        for port in desired.ports
    )
    outward = (
        Forwarder(
            f"out-{way.enclave}",
            (
                "vsock-proxy",
                "--config",
                str(proxy_config),
                str(way.enclave),
                way.host,
                str(way.port),
            ),
        )
        for way in desired.egress
    )
    return (*inward, *outward)


def proxy_allowlist(desired: Desired) -> str:
    """vsock-proxy's configuration: it refuses every destination that is not listed."""
    lines = [f"- {{address: {way.host}, port: {way.port}}}" for way in desired.egress]
    return "allowlist:\n" + "".join(line + "\n" for line in lines)


class Forwarders:
    """Keeps exactly the wanted processes alive. For one thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._ended: set[str] = set()

    def ensure(self, forwarders: Iterable[Forwarder], now: float) -> str | None:
        """Start what is missing, end what is not wanted; an error text or None."""
        names = {one.key: one for one in forwarders}
        for path in self._places.run.glob("*.json"):
            self._stop_unless(path, names.get(path.stem))
        errors = [self._start_missing(one, now) for one in names.values()]
        return "; ".join(filter(None, errors)) or None

    def _start_missing(self, one: Forwarder, now: float) -> str | None:
        """Have it run; what is to be said of one that ended by itself lately."""
        key, last = one.key, self._started_at.get(one.key)
        age = None if last is None else now - last
        lives = (self._places.run / f"{key}.json").exists() or self._starting(key)
        if lives and age is not None and age >= WELL_SECONDS:
            self._ended.discard(key)
        if not lives and age is not None:
            self._ended.add(key)
        if not lives and (age is None or not 0 <= age < RETRY_SECONDS):
            self._start(one, now)
        return f"{one.argv[0]} {key} ended; it is started again" if key in self._ended else None

    def _start(self, one: Forwarder, now: float) -> None:
        self._started_at[one.key] = now
        path = self._places.run / f"{one.key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        nowhere = subprocess.DEVNULL
        self._children[one.key] = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BECOME, str(path), *one.argv],
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
        )

    def _starting(self, key: str) -> bool:
        child = self._children.get(key)
        return child is not None and child.poll() is None

    def _stop_unless(self, path: Path, one: Forwarder | None) -> None:
        """Keep the process of this file if it lives and is what is wanted; else both go."""
        try:
            record = json.loads(path.read_text())
            pid, start, argv = int(record["pid"]), record["start"], tuple(record["argv"])
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink()
            return
        alive = _alive(pid, start)
        if alive and one is not None and one.argv == argv:
            return
        if alive:
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
                os.kill(pid, signal.SIGKILL)
            self._started_at.pop(path.stem, None)  # ended by us: the next one is the first
            self._ended.discard(path.stem)
        child = self._children.get(path.stem)
        if child is not None and child.pid == pid:
            child.wait()
        path.unlink()


def _alive(pid: int, start: object) -> bool:
    return start is not None and start_time(pid) == start


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/pid/stat; with the pid it names one process for ever (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
