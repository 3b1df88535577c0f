"""What a state of MarketV1 means for its provider: who is to be served, and until when.

Worked out from the contract's arithmetic and from what owners meant; the agent is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devnet.simulation.marketv1.asked import Meaning
from devnet.simulation.marketv1.model import CLOSED, SCALE, WORD, Job, State
from devnet.simulation.names import US
from devnet.simulation.people import DENIED, HOSTILE, UNIT

ENOUGH_SECONDS = 600  # of money, for which a launch is worth it (jobs.min_escrow)


@dataclass(frozen=True)
class Truth:
    """`meanings` are the texts that can be served; every other one can't."""

    meanings: Mapping[str, Meaning]

    def meaning(self, job: Job) -> Meaning | None:
        """What it asks for, where that can be served at all."""
        found = self.meanings.get(job.metadata)
        return None if found is None or found.url == HOSTILE else found

    def worth(self, job: Job) -> bool:
        """Whether all that is known before its image speaks for a purchase."""
        return self._allowed(job) and job.metadata in self.meanings

    def welcome(self, job: Job) -> bool:
        """Whether the provider would take it, if it were paid long enough."""
        return self._allowed(job) and self.meaning(job) is not None

    def _allowed(self, job: Job) -> bool:
        return job.provider == US and job.owner != DENIED and job.rate >= UNIT


def job_of(state: State, number: int) -> Job:
    return state.jobs.get(number, CLOSED)


def end_of(state: State, number: int) -> int:
    """The first second that is not served for: dry, or a rate too low that may hold by then."""
    job, lock = job_of(state, number), state.locks.get(number)
    if job is CLOSED or job.rate == 0:
        return job.last_settled
    dry = job.last_settled + job.balance * SCALE // job.rate
    if lock is not None and lock.rate < min(UNIT, job.rate):
        return min(dry, lock.unlock_time)
    return dry


def owed(job: Job, now: int) -> int:
    """What a settlement would pay; nothing where it has no room in a word and reverts."""
    product = job.rate * max(0, now - job.last_settled) + SCALE - 1
    return 0 if product >= WORD else min(product // SCALE, job.balance)
