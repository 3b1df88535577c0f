"""Counters from the journal's own lines: what is told to people is counted for machines."""

from __future__ import annotations

from collections.abc import Callable

from agent.journal.lines import SLASHED, Event
from agent.journal.reading import Reader
from agent.status.metrics import Metrics

_REPAIRS = {
    "enclave.restarted": "enclave_restart",
    "job.replaced": "host_replace",
    "job.late": "race",
}


class Tally:
    """`event` is called with every line that the journal takes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._families: dict[str, Callable[[Event, str], None]] = {
            "job": self._job,
            "tx": self._transaction,
            "launch": self._launch,
            "image": self._image,
            "effect": self._effect,
        }

    def restore(self, reader: Reader) -> None:
        """Slashes are counted since the journal began: one that a restart forgot would be missed
        by whoever looks at the increase."""
        for _ in reader.last(SLASHED):
            self._metrics.job_slashed()

    def event(self, event: Event) -> None:
        """Count it, if it is of a kind that is counted."""
        if event.name in _REPAIRS:
            self._metrics.repair(_REPAIRS[event.name])
        family, _, word = event.name.partition(".")
        if family in self._families:
            self._families[family](event, word)

    def _job(self, event: Event, word: str) -> None:
        if word == "refused":
            self._metrics.job_refused(event.text.partition(":")[0])
        elif word == "missed":
            self._metrics.job_missed()
        elif word == "slashed":
            self._metrics.job_slashed()
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
