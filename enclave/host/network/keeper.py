"""The host's side of the network's process: have exactly one run, and tell it what is wanted.

The process is known by its control socket alone, so a restarted host program finds it, and no
connection is cut. One that does not answer any more is ended and begun anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from enclave.host.config import Places
from enclave.host.network.orders import NOTHING, Orders, Report
from enclave.host.network.process import MESSAGE_BYTES, credentials

ANSWER_SECONDS = 2.0
START_SECONDS = 10.0
# One that ends at once is not started more often than this, and is complained of until another
# has lived so long: each change of what is said is a request to the bucket.
RETRY_SECONDS = 1.0
WELL_SECONDS = 30.0
# A process that answers nothing for so long is stuck, not busy.
STUCK_SECONDS = 15.0
_MOST_WORDS = 300

_MAIN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from enclave.host.network.process import main
main()
"""


class Mute(Exception):
    """It is there and does not answer, or what it says is not understood."""


class Keeper:
    """Keeps the process alive and ordered. For one thread."""

    def __init__(self, places: Places) -> None:
        self._log = places.run / "network.log"
        # Abstract, so that no path is too long and nothing is left behind; one for each root.
        name = hashlib.sha256(str(places.run.resolve()).encode()).hexdigest()[:32]
        self._name = f"oyster-host-network/{name}"
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at: float | None = None
        self._mute_since: float | None = None
        self._ended = False

    def ensure(self, orders: Orders, now: float, *, early: bool = False) -> Report:
        """Have `orders` served; what the process says of it. What hinders is in its errors.

        `early`: have the process even where nothing is ordered of it yet, since it will be.
        """
        try:
            report = self._ask(orders)
        except ConnectionError:  # none is there, or it ended with the question
            return self._begin(orders, now) if early or orders != NOTHING else Report()
        except (OSError, Mute) as error:
            return self._mute(error, now)
        self._mute_since = None
        if self._started_at is None or now - self._started_at >= WELL_SECONDS:
            self._ended = False
        return report if not self._ended else _with_error(report, self._last_words())

    def pid(self) -> int:
        """The process that serves now. Raises OSError or Mute."""
        with self._wire() as wire:
            return credentials(wire)[0]

    def _begin(self, orders: Orders, now: float) -> Report:
        """None runs: start one, unless the last ended just now."""
        last = self._started_at
        self._ended = self._ended or last is not None
        if last is None or not 0 <= now - last < RETRY_SECONDS:
            self._started_at = now
            self._start()
        try:
            report = self._ask(orders)
        except (OSError, Mute):
            return _with_error(Report(), self._last_words())
        return report if not self._ended else _with_error(report, self._last_words())

    def _mute(self, error: Exception, now: float) -> Report:
        since = self._mute_since = now if self._mute_since is None else self._mute_since
        if now - since >= STUCK_SECONDS:
            self._kill()
            self._mute_since = None
        return _with_error(Report(), f"does not answer: {error}")

    def _ask(self, orders: Orders) -> Report:
        """Raises ConnectionError when there is none any more, else OSError or Mute."""
        with self._wire() as wire:
            wire.send(json.dumps(orders.to_json()).encode())
            said = wire.recv(MESSAGE_BYTES)
        try:
            return Report.from_json(json.loads(said))
        except (ValueError, KeyError, TypeError) as error:
            raise Mute(f"an answer of {len(said)} bytes: {error!r}") from error

    def _wire(self) -> socket.socket:
        """To a process of this user; an abstract name is everybody's to take."""
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            wire.settimeout(ANSWER_SECONDS)
            wire.connect("\0" + self._name)
            if credentials(wire)[1] != os.getuid():
                raise Mute("another user's process has its place")
        except (OSError, Mute):
            wire.close()
            raise
        return wire

    def _start(self) -> None:
        """Returns when it listens, or has ended, or is too slow."""
        if self._child is not None and self._child.poll() is None:
            return  # it has not come so far yet
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MAIN, _home(), self._name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._child.stdout is not None
        with self._child.stdout as ready:
            select.select([ready], [], [], START_SECONDS)

    def _kill(self) -> None:
        with suppress(OSError, Mute):  # it ended, or is nobody we may end
            os.kill(self.pid(), signal.SIGKILL)

    def end(self) -> None:
        """No process any more, and no connection: for who tidies up, never for a restart."""
        self._kill()
        if self._child is not None:
            self._child.wait()

    def _last_words(self) -> str:
        """The end of what it wrote before it ended."""
        try:
            lines = self._log.read_text(errors="replace").strip().split("\n")
        except OSError:
            lines = [""]
        return f"ended and is started again: {lines[-1][:_MOST_WORDS]}".rstrip(": ")


def _with_error(report: Report, text: str) -> Report:
    return replace(report, errors={**report.errors, "the network's process": text})


def _home() -> str:
    """Where this program is: a zipapp, or the tree that it is developed in."""
    return str(Path(__file__).parents[3])
