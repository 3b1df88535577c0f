"""MarketV1's arithmetic: what is owed, until when a job is paid, and what ends it.

Rates are total: a user may write any number of 256 bits, 0 too. What is owed is rounded up at
every settlement; a settlement whose product has no room in 256 bits reverts, so it pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from agent.market.model import Ending, Job, Price, StopReason, Wei
from agent.market.terms import Abilities, Due, DueKind, Terms

WORD = 1 << 256
# Marlin's monitor and its command line ask for an address 180 s after the opening, and complain
# when there is none 300 s later.
GOAL_SECONDS = 180


@dataclass(frozen=True, slots=True)
class MarketV1Terms:
    """`Terms`. `min_rates` are this provider's cards by type; `stop_before_dry` is in seconds."""

    min_rates: Mapping[str, Price] = field(default_factory=dict)
    stop_before_dry: int = 0

    abilities: ClassVar[Abilities] = Abilities(
        reports_start=False,
        can_exit=False,
        has_stake=False,
        lists_on_chain=False,
        slashes=False,
        changes_in_place=True,
        keeps_sums=False,
        open_urls=True,
        names_jobs=False,
        administered=True,
    )

    def due(self, job: Job) -> Due:
        """A goal: nobody is punished for being late, but watchers tell everybody."""
        return Due(job.assigned_at + GOAL_SECONDS, DueKind.GOAL)

    def ending(self, job: Job) -> Ending | None:
        """Dryness, or a notice of a rate that this provider does not serve for. At such a rate, as
        at 0, at once: it holds since the last settlement, which finalizing it makes."""
        if job.is_stopped:
            return Ending(job.stopped_at, job.stop_reason)
        if job.price.raw == 0 or job.price < self._least(job):
            return Ending(job.settled_until, StopReason.RATE_LOWERED)
        dry = Ending(paid_until(job) - self.stop_before_dry, StopReason.ESCROW_EXHAUSTED)
        notice = job.notice
        if notice is not None and notice.price < self._least(job) and notice.at < dry.at:
            return Ending(notice.at, StopReason.RATE_LOWERED)
        return dry

    def _least(self, job: Job) -> Price:
        """The lowest rate that the job is served for: the one it was taken at, or a lower card."""
        card = self.min_rates.get(job.instance_type)
        taken = job.price if job.agreed is None else job.agreed
        return taken if card is None else min(card, taken)

    def is_over(self, job: Job, now: int) -> bool:
        """Whatever this clock says, the chain has been at the second it was settled at."""
        end = self.ending(job)
        return end is not None and (job.is_stopped or max(now, job.settled_until) >= end.at)

    def unrecorded(self, job: Job, now: int) -> bool:
        """Whether a settlement is missing. A dry job is settled to its last unit, so that a later
        deposit is not eaten by the time between; one that ended by notice, or before it is dry, is
        once: what it pays for after that was not served."""
        end = self.ending(job)
        if job.is_stopped or end is None or now < end.at or not self.accrued(job, now):
            return False
        dry = end.reason is StopReason.ESCROW_EXHAUSTED and not self.stop_before_dry
        return dry or job.settled_until < end.at

    def leaves_at(self, job: Job, asked_at: int) -> None:
        """A provider has no call for leaving a job."""

    def at_risk(self, job: Job) -> Wei:
        return Wei(0)

    def kinder(self, other: Terms) -> MarketV1Terms:
        """Nothing of these is read from the chain, so no endpoint can tell others."""
        return self

    @property
    def reports_to_slash(self) -> int:
        """Nobody reports on this market's contract."""
        return 0

    def owed(self, price: Price, seconds: int) -> Wei:
        return owed(price, seconds)

    def accrued(self, job: Job, now: int) -> Wei:
        """What a settlement at `now` would pay: nothing where it would revert."""
        if job.is_stopped:
            return Wei(0)
        seconds = max(0, now - job.settled_until)
        if job.price.raw * seconds + Price.SCALE - 1 >= WORD:
            return Wei(0)
        return min(owed(job.price, seconds), job.escrow)

    def earned(self, job: Job, now: int, since: int = 0) -> Wei:
        """Of what is not settled yet; what was settled before is told by events alone."""
        return Wei(self.accrued(job, now) - self.accrued(job, min(since, now)))


def owed(price: Price, seconds: int) -> Wei:
    """Base units owed for `seconds` of service, rounded up (in the provider's favour)."""
    return Wei(-(-price.raw * max(0, seconds) // Price.SCALE))


def paid_until(job: Job) -> int:
    """The last second up to which the balance pays in full; the rate is not 0."""
    return job.settled_until + job.escrow * Price.SCALE // job.price.raw
