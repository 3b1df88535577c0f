"""How far a source is asked again: who lied is dropped, who failed comes later, who is busy rests.

The record outlives a fetch, so that the next one begins with whoever behaved best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from enclave.ipfs.answers import Busy
from enclave.ipfs.car import Lie
from enclave.ipfs.gateway import Source
from faults import TryElsewhere


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one fault means for this fetch: not asked again at all, or after `rest_seconds`."""

    dropped: bool = False
    rest_seconds: float = 0.0


@dataclass(slots=True)
class Standing:
    """How a source has behaved: the less of each the better, in this order."""

    lies: int = 0
    failures: int = 0
    rests_until: float = 0.0  # by the guards' clock: it asked to be left alone till then


@dataclass(slots=True)
class Standings:
    """The record of all sources, kept between fetches by whoever holds it."""

    by_name: dict[str, Standing] = field(default_factory=dict)

    def of(self, source: Source) -> Standing:
        return self.by_name.setdefault(source.name, Standing())

    def judge(self, source: Source, fault: TryElsewhere, now: float) -> Verdict:
        """Remember a fault. `now` is the guards' clock."""
        standing = self.of(source)
        if isinstance(fault, Lie):
            standing.lies += 1
            return Verdict(dropped=True)
        standing.failures += 1
        if isinstance(fault, Busy):
            standing.rests_until = now + fault.rest_seconds
            return Verdict(rest_seconds=fault.rest_seconds)
        return Verdict()

    def served(self, source: Source) -> None:
        """It gave what it was asked for: half of its failures are forgiven."""
        self.of(source).failures //= 2

    def resting(self, source: Source, now: float) -> float:
        """Seconds for which it asked to be left alone still."""
        return max(0.0, self.of(source).rests_until - now)

    def order(self, sources: Sequence[Source]) -> list[Source]:
        """Best first; equals stay in the order given."""
        return sorted(sources, key=lambda one: (self.of(one).lies, self.of(one).failures))
