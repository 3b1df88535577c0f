"""Counters from the journal's own lines: what is told to people is counted for machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from agent.journal.lines import SLASHED, Event
from agent.journal.reading import Put, Reader
from agent.market.model import JobId
from agent.ports import Clock
from agent.status.metrics import Metrics

_REPAIRS = {
    "enclave.restarted": "enclave_restart",
    "job.replaced": "host_replace",
    "job.late": "race",
}


# Each is a stake at risk or lost. Since when it was last told is shown too: a counter that is new,
# or was never scraped at its old value, has not risen for whoever looks at its increase.
MISSED = "job.missed"
HARMS = {MISSED: "missed", "job.refused": "refused", SLASHED: "slashed"}


class Tally:
    """`event` is called with every line that the journal takes."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._counted: set[tuple[str, JobId]] = set()
        self._harms: dict[str, deque[float]] = {word: deque(maxlen=1000) for word in HARMS.values()}
        self._families: dict[str, Callable[[Event, str], None]] = {
            "job": self._job,
            "tx": self._transaction,
            "launch": self._launch,
            "image": self._image,
            "effect": self._effect,
        }

    def restore(self, reader: Reader) -> Put:
        """Misses and slashes are counted since the journal began, and when the last of each kind
        was is known: what a restart forgot would be missed by whoever looks at the increase."""
        return partial(self._put, {name: list(reader.last(name).values()) for name in HARMS})

    def _put(self, harms: Mapping[str, Sequence[Event]]) -> None:
        for times in self._harms.values():
            times.clear()
        for name, events in harms.items():
            for event in sorted(events, key=lambda one: one.at):
                self._note(HARMS[name], event.at)
                self._count_once(event)

    def _count_once(self, event: Event) -> bool:
        """What a job does once at most is counted once, whichever process told it."""
        if event.job is None or (event.name, event.job) in self._counted:
            return False
        if event.name == SLASHED:
            self._metrics.job_slashed()
        elif event.name == MISSED:
            self._metrics.job_missed()
        else:
            return False
        self._counted.add((event.name, event.job))
        return True

    def recent(self, seconds: float) -> dict[str, int]:
        """How many jobs were missed, refused and slashed lately."""
        since = self._clock.now() - seconds
        return {word: sum(at >= since for at in times) for word, times in self._harms.items()}

    def _note(self, word: str, at: float) -> None:
        self._harms[word].append(at)
        self._metrics.harmed(word, max(self._harms[word]))

    def event(self, event: Event) -> None:
        """Count it, if it is of a kind that is counted."""
        if event.name in _REPAIRS:
            self._metrics.repair(_REPAIRS[event.name])
        if event.name in (MISSED, SLASHED) and not self._count_once(event):
            return  # told by the process before, too
        if event.name in HARMS:
            self._note(HARMS[event.name], self._clock.now())  # a slash is of its block's time
        family, _, word = event.name.partition(".")
        if family in self._families:
            self._families[family](event, word)

    def _job(self, event: Event, word: str) -> None:
        if word == "refused":
            self._metrics.job_refused(event.text.partition(":")[0])
        elif word == "ended":
            self._metrics.job_ended(event.text)

    def _transaction(self, event: Event, word: str) -> None:
        if word in ("refused", "later"):
            self._metrics.transaction("any", word)
        else:
            fee = str(event.fields.get("fee_wei", "0"))
            self._metrics.transaction(word, "mined", gas_wei=int(fee) if fee.isdigit() else 0)

    def _launch(self, event: Event, word: str) -> None:
        self._metrics.launch(word)

    def _image(self, event: Event, word: str) -> None:
        self._metrics.image(word)

    def _effect(self, event: Event, word: str) -> None:
        if word == "bug":
            self._metrics.effect_bug(str(event.fields.get("effect", "other")))
