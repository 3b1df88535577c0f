"""Enclaves in a state that should pass and does not: since when, what to say, when to ask again.

Pure: no I/O, no clock. `nitro-cli describe-enclaves` knows RUNNING, EMPTY (being booted) and
TERMINATING; of the last two some stay for ever, and nothing else says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from enclave.host.model import Enclave

TERMINATING = "TERMINATING"
# An end takes a second or two; one that takes longer is told, and is asked for again.
TELL_ENDING_SECONDS = 10.0
END_AGAIN_SECONDS = 60.0
# nitro-cli waits for a boot for 180 s, and for one with much memory longer, up to a quarter of an
# hour here (`nitro_cli.RUN_SECONDS`): what has not booted by then does not.
TELL_BOOTING_SECONDS = 180.0
BOOTING_SECONDS = 900.0


@dataclass(frozen=True)
class Lingers:
    """One enclave: its state, since when it has it, when it was asked to end last."""

    state: str
    since: float
    asked: float


@dataclass(frozen=True)
class Lingering:
    """By the enclave's id; unix seconds. Those that run are not in it."""

    of: Mapping[str, Lingers] = field(default_factory=dict)

    def seen(self, enclaves: Iterable[Enclave], now: float) -> Lingering:
        """With what is listed now; a clock that was set back begins anew."""
        return Lingering({one.id: self._next(one, now) for one in enclaves if not one.running})

    def asked(self, enclave_id: str, now: float) -> Lingering:
        """`nitro-cli terminate-enclave` was just called for it."""
        known = self.of.get(enclave_id, Lingers(TERMINATING, now, now))
        return Lingering({**self.of, enclave_id: Lingers(known.state, known.since, now)})

    def to_end(self, one: Enclave, now: float) -> bool:
        """Whether to terminate one that lingers; of one that ends by itself, not yet."""
        known = self.of.get(one.id)
        if known is None or known.state != one.state:
            return False
        if one.state == TERMINATING:
            return now - known.asked >= END_AGAIN_SECONDS
        return now - known.since >= BOOTING_SECONDS and now - known.asked >= END_AGAIN_SECONDS

    def words(self, now: float) -> str | None:
        """What is waited for, for the operator; None: nothing lingers for long."""
        texts = (_words(id, one) for id, one in self.of.items() if _long(one, now))
        return "; ".join(texts) or None

    def _next(self, one: Enclave, now: float) -> Lingers:
        known = self.of.get(one.id)
        if known is None or known.since > now:
            return Lingers(one.state, now, now)
        if known.state != one.state:
            return Lingers(one.state, now, known.asked)
        return known


def _long(one: Lingers, now: float) -> bool:
    limit = TELL_ENDING_SECONDS if one.state == TERMINATING else TELL_BOOTING_SECONDS
    return now - one.since >= limit


def _words(enclave_id: str, one: Lingers) -> str:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.since))
    if one.state == TERMINATING:
        then = f"terminate is asked for every {END_AGAIN_SECONDS:.0f} s"
    else:
        then = f"it is terminated when it has not booted after {BOOTING_SECONDS:.0f} s"
    return f"enclave {enclave_id} is {one.state} since {since}; {then}"
