"""The market of protocol.md for scripts of a few jobs: its functions as of a block's second.

The arithmetic is that of `agent.markets.registry.terms`, which the contracts' own tests compare
with the EVM. Blocks and endpoints are `market`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.market.model import Job, JobId, JobStatus, Price, StopReason, Wei
from agent.markets.registry.terms import RegistryTerms
from devnet.simulation.names import US
from faults import Refused

TERMS = RegistryTerms(
    stake_per_job=Wei(1000),
    job_bootstrapping=600,
    job_startup=900,
    job_exit_cool_down=3600,
    quorum=2,
)


@dataclass
class SimContract:
    """Jobs, offers and money; `touched` are the jobs that events named since they were read."""

    terms_: RegistryTerms = field(default=TERMS, kw_only=True)
    jobs_: dict[JobId, Job] = field(default_factory=dict, kw_only=True)
    offers: dict[str, Price] = field(default_factory=dict, kw_only=True)
    stake: int = field(default=1_000_000, kw_only=True)
    earned: int = field(default=0, kw_only=True)
    refunded: int = field(default=0, kw_only=True)
    deposited: int = field(default=0, kw_only=True)
    slashed: int = field(default=0, kw_only=True)
    touched: set[JobId] = field(default_factory=set, kw_only=True)

    def _get(self, at: int, job: JobId | None) -> Job:
        found = self.jobs_.get(job) if job is not None else None
        if found is None:
            raise Refused("no such job")
        self.touched.add(found.id)
        return found

    def _alive(self, at: int, job: JobId | None) -> Job:
        found = self._get(at, job)
        if self.terms_.is_over(found, at):
            raise Refused("the job is over")
        return found

    def _put(self, job: Job) -> None:
        self.jobs_[job.id] = job
        self.touched.add(job.id)

    def report_started(self, at: int, job: JobId | None, endpoint: str) -> None:
        found = self._alive(at, job)
        if found.is_started or at >= self.terms_.due(found).at:
            raise Refused("too late to start, or started")
        status = JobStatus.EXITING if found.exit_requested_at else JobStatus.RUNNING
        self._put(replace(found, started_at=at, status=status, endpoint=endpoint))

    def settle(self, at: int, job: JobId | None) -> None:
        found = self._get(at, job)
        if found.is_stopped:
            return
        end = self.terms_.ending(found)
        if end is not None and at >= end.at:
            self._stop(found, end.at, end.reason)
        else:
            self._pay(found, at)

    def _pay(self, job: Job, at: int) -> Job:
        due = self.terms_.accrued(job, at)
        if job.provider == US:
            self.earned += due
        settled = at if job.is_started else job.settled_until
        paid = replace(job, escrow=Wei(job.escrow - due), settled_until=settled)
        self._put(paid)
        return paid

    def _stop(self, job: Job, at: int, reason: StopReason) -> None:
        paid = self._pay(job, at)
        self.refunded += paid.escrow
        stopped = JobStatus.STOPPED
        self._put(replace(paid, status=stopped, stop_reason=reason, stopped_at=at, escrow=Wei(0)))

    def request_exit(self, at: int, job: JobId | None) -> None:
        found = self._alive(at, job)
        if found.exit_requested_at:
            raise Refused("an exit is requested already")
        paid = self._pay(found, at)
        self._put(replace(paid, exit_requested_at=at, status=JobStatus.EXITING))

    def finalize_exit(self, at: int, job: JobId | None) -> None:
        found = self._get(at, job)
        if found.is_stopped:
            return
        end = self.terms_.ending(found)
        if end is None or at < end.at:
            raise Refused("the cool-down has not passed")
        self._stop(found, end.at, end.reason)

    def undo(self, job: JobId) -> None:
        """A reorganisation took the job's assignment away, and it does not come back."""
        self.jobs_.pop(job, None)
        self.touched.add(job)

    def money_is_exact(self) -> bool:
        """Rule 9: deposits are in escrows, with the provider, or back with users."""
        others = self.deposited - self.earned - self.refunded
        return others >= sum(job.escrow for job in self.jobs_.values()) >= 0
