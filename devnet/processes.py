"""The devnet's children: each starts in a session of its own, says where it is, and ends with us.

A child prints one line of JSON on its standard output when it is ready; everything else it says
goes to its log file. Nothing outlives its `Children`: the whole process group of each child is
ended, politely at first.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from faults import RetryLater

READY_SECONDS = 60.0  # importing py-evm or moto on a busy two-core machine takes up to ten
POLITE_SECONDS = 5.0  # after SIGTERM; then SIGKILL


@dataclass(frozen=True)
class Child:
    """A running child and what it said when it was ready."""

    name: str
    process: subprocess.Popen[str]
    hello: Mapping[str, Any]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None


class Children:
    """A context manager that ends every child it started, last first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Children:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self._children)):
            self.end(name)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        says_hello: bool = True,
    ) -> Child:
        """Run `command` until it says hello. Raises RetryLater: it ended or stalled."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if says_hello else errors,
                stderr=errors,
                text=True,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        try:
            hello = _hello(name, process, log) if says_hello else {}
        except BaseException:
            _end_group(process)
            raise
        self._children[name] = Child(name, process, hello, log)
        return self._children[name]

    def get(self, name: str) -> Child:
        """The child of that name; KeyError when none was started."""
        return self._children[name]

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash: no farewell. The child is reaped and forgotten."""
        child = self._children.pop(name)
        _signal_group(child.process, signal.SIGKILL)
        child.process.wait()
        _close(child.process)

    def end(self, name: str) -> int:
        """SIGTERM, then SIGKILL after POLITE_SECONDS; the exit code."""
        return _end_group(self._children.pop(name).process)

    def dead(self) -> list[Child]:
        """Children that ended by themselves; a devnet without them is broken."""
        return [child for child in self._children.values() if not child.alive()]


def _hello(name: str, process: subprocess.Popen[str], log: Path) -> Mapping[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    line = process.stdout.readline() if ready else ""
    try:
        hello = json.loads(line)
    except ValueError:
        hello = None
    if not isinstance(hello, dict):
        raise RetryLater(f"devnet: {name} did not come up; its last words: {_last_words(log)}")
    return hello


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1]!r} (all of them: {log})" if lines else f"none (log: {log})"


def _end_group(process: subprocess.Popen[str]) -> int:
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it had its chance; it is killed next
        process.wait(POLITE_SECONDS)
    _signal_group(process, signal.SIGKILL)
    _close(process)
    return process.wait()


def _close(process: subprocess.Popen[str]) -> None:
    if process.stdout is not None:
        process.stdout.close()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group is gone already
        os.killpg(process.pid, number)


def born(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when it has ended. proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def wait_until_gone(pid: int, seconds: float) -> bool:
    """Whether the process ended within `seconds`; for processes that are not our children."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not born(pid):
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    """A port that is free, below those that the kernel gives to whoever connects (ip(7): 32768 and
    more), so that nobody is given it before its server listens."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))  # noqa: S104 - by nobody, at any address
            return port
