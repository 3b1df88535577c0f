"""The registry's arithmetic: windows, the dry second, exits and what is owed, by its fine print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.market.model import Ending, Job, Price, StopReason, Wei
from agent.market.terms import Abilities, Due, DueKind, Terms


@dataclass(frozen=True, slots=True)
class RegistryTerms:
    """`Terms`. The contract's parameters in its order, always read from the chain; seconds."""

    stake_per_job: Wei
    job_bootstrapping: int
    job_startup: int
    job_exit_cool_down: int
    quorum: int

    abilities: ClassVar[Abilities] = Abilities(
        reports_start=True,
        can_exit=True,
        has_stake=True,
        lists_on_chain=True,
        slashes=True,
        changes_in_place=False,
        keeps_sums=True,
        open_urls=False,
        names_jobs=True,
        administered=False,
    )

    def due(self, job: Job) -> Due:
        """The slash point: the first second in which reportStarted is too late."""
        return Due(job.assigned_at + self.job_bootstrapping, DueKind.SLASH)

    def exit_at(self, job: Job) -> int | None:
        """The second from which a requested exit has passed; None without a request."""
        if job.exit_requested_at == 0:
            return None
        return job.exit_requested_at + self.job_exit_cool_down

    def leaves_at(self, job: Job, asked_at: int) -> int | None:
        """The cool-down later."""
        del job
        return asked_at + self.job_exit_cool_down

    def at_risk(self, job: Job) -> Wei:
        """StakePerJob is locked for each assignment."""
        del job
        return self.stake_per_job

    @property
    def reports_to_slash(self) -> int:
        """The quorum."""
        return self.quorum

    def ending(self, job: Job) -> Ending | None:
        """In one second dryness wins over exit."""
        if job.is_stopped:
            return Ending(job.stopped_at, job.stop_reason)
        dry, leaves = dry_at(job), self.exit_at(job)
        if dry is not None and (leaves is None or dry <= leaves):
            return Ending(dry, StopReason.ESCROW_EXHAUSTED)
        if leaves is not None:
            return Ending(leaves, StopReason.PROVIDER_EXIT)
        return None

    def is_over(self, job: Job, now: int) -> bool:
        """Stopped, or will be found stopped by the next transaction that touches it at `now`."""
        end = self.ending(job)
        return end is not None and (job.is_stopped or now >= end.at)

    def unrecorded(self, job: Job, now: int) -> bool:
        """Whoever settles or finalizes it stops it."""
        return not job.is_stopped and self.is_over(job, now)

    def owed(self, price: Price, seconds: int) -> Wei:
        return owed(price, seconds)

    def accrued(self, job: Job, now: int) -> Wei:
        """What a settlement at `now` would pay the provider: never more than the escrow."""
        if job.is_stopped or not job.is_started:
            return Wei(0)
        end = self.ending(job)
        until = now if end is None else min(now, end.at)
        due = owed(job.price, until - job.started_at) - paid(job)
        return Wei(min(job.escrow, max(0, due)))

    def earned(self, job: Job, now: int, since: int = 0) -> Wei:
        """What the present assignment came to by `now`; settlements count whole intervals."""
        if not job.is_started:
            return Wei(0)
        until = min(job.stopped_at or now, now)
        before = owed(job.price, min(until, since) - job.started_at)
        return Wei(max(0, paid(job) + self.accrued(job, now) - before))

    def kinder(self, other: Terms) -> Terms:
        """The longer windows of both; one of another market changes nothing."""
        if not isinstance(other, RegistryTerms):
            return self
        return RegistryTerms(
            stake_per_job=min(self.stake_per_job, other.stake_per_job),
            job_bootstrapping=max(self.job_bootstrapping, other.job_bootstrapping),
            job_startup=max(self.job_startup, other.job_startup),
            job_exit_cool_down=max(self.job_exit_cool_down, other.job_exit_cool_down),
            quorum=max(self.quorum, other.quorum),
        )


def owed(price: Price, seconds: int) -> Wei:
    """Base units owed for `seconds` of service, rounded down (in the user's favour)."""
    return Wei(price.raw * max(0, seconds) // Price.SCALE)


def dry_at(job: Job) -> int | None:
    """The first second that owes the whole escrow; None while nothing runs it down.

    What was already paid on this assignment is what was owed up to `settled_until`: settlements
    count whole intervals since `started_at`.
    """
    if job.is_stopped or not job.is_started or not job.price.raw:
        return None  # the contract has no price 0, but a node can answer one
    total = job.escrow + paid(job)
    return job.started_at + -(-total * Price.SCALE // job.price.raw)


def paid(job: Job) -> Wei:
    """What this provider was paid on this assignment so far."""
    return owed(job.price, job.settled_until - job.started_at) if job.settled_until else Wei(0)
