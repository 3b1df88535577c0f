"""Reading the configuration anew, and telling whoever asked how that went.

A signal has no answer. So each reload leaves one in the runtime directory; `service reload`,
which the unit's ExecReload= runs, sends the signal and waits for it. (systemd
253 has Type=notify-reload, which waits but can't fail; Debian 12 has 252.)
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.config import Config, load
from agent.sd_notify import Notifier
from faults import Fault, RetryLater, UsageFault

log = structlog.get_logger()

ANSWER_SECONDS = 20.0  # a turn of the loop takes seconds at most
_POLL_SECONDS = 0.05
_FILE = "reload.json"


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of the reload at that moment of CLOCK_MONOTONIC; `error` is empty where it was
    taken. A process that was restarted meanwhile does not repeat a moment, as it would a count."""

    at_nanoseconds: int = 0
    error: str = ""


class Reloading:
    """One process's reloads of one file. `refused` is why the last one changed nothing."""

    def __init__(
        self, path: Path | None, notifier: Notifier, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.path, self._notifier = path, notifier
        self._place = _place(environ)
        self.refused = ""
        self._announced = False

    def announce(self, state: str) -> None:
        """Tell systemd that the start is over; reloads end with the same word from then on."""
        self._announced = True
        self._notifier.ready(self.words(state))

    def words(self, state: str) -> str:
        """The line for `systemctl status`: what is wrong with the file, then how things are."""
        return f"reload refused, the old rules stay: {self.refused}" if self.refused else state

    def again(self, take: Callable[[Config], None], state: Callable[[], str]) -> None:
        """Read the file and have it taken. A file that is wrong changes nothing, and says why.

        Before the start is over READY stays unsaid, whether there is an agent by then or not: who
        waits for it would take a first resync for done.
        """
        if not self._announced:
            self._read(take)
            self._notifier.status(self.words(state()))
            return
        self._notifier.reloading()
        self._read(take)
        self._notifier.ready(self.words(state()))

    def _read(self, take: Callable[[Config], None]) -> None:
        try:
            take(load(self.path))
            self.refused = ""
            log.info("service.reloaded")
        except Fault as fault:
            self.refused = str(fault)
            log.error("service.reload_refused", error=self.refused)
        self._answer()

    def _answer(self) -> None:
        if self._place is None:
            return
        part = self._place.with_suffix(".part")
        with suppress(OSError):  # whoever waits says that no answer came
            part.write_text(json.dumps({"at": time.monotonic_ns(), "error": self.refused}))
            part.replace(self._place)


def ask(
    pid: int,
    environ: Mapping[str, str] = os.environ,
    *,
    seconds: float = ANSWER_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Have the agent of that pid reload. Raises UsageFault with its reason when it refuses,
    RetryLater when it does not answer in time."""
    place = _place(environ)
    if place is None:
        raise UsageFault("no RUNTIME_DIRECTORY: this is for the unit; use systemctl reload")
    before = _read(place)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise RetryLater(f"process {pid} can't be told to reload: {error.strerror}") from error
    for _ in range(int(seconds / _POLL_SECONDS)):
        sleep(_POLL_SECONDS)
        answer = _read(place)
        if answer != before and answer.error:
            raise UsageFault(answer.error)
        if answer != before:
            return
    raise RetryLater(f"the agent did not say within {seconds:.0f} s how the reload went")


def _place(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("RUNTIME_DIRECTORY")
    return Path(folder) / _FILE if folder else None


def _read(place: Path) -> Answer:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return Answer(int(found["at"]), str(found["error"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Answer()
