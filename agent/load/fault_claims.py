"""Auditors' reports of jobs of ours, as the logs of several endpoints tell them.

A log is one node's word, and what follows from a report (a restart of a user's enclave, an exit)
can't be undone: with two endpoints it counts when both have told of it. It stays on the job's
timeline, by which it is known again after a restart, and what was thought of it; what was reported
while no agent ran is read back (`agent.history.faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.decide.job_view import FaultReport
from agent.decide.plan import Level
from agent.journal.lines import Event
from agent.load.remembered import Memory
from agent.market.model import JobId
from agent.market.testimony import VOICES, FaultVote
from agent.ports import Clock

REPORTED = "job.fault_reported"
MOST_AUDITORS = 64  # of one job by one endpoint: a node may tell of any number

VoteOf = Callable[[Mapping[str, Any]], FaultVote | None]


class FaultClaims:
    """`heard` takes an endpoint's logs; what enough of `endpoints` tell is in the job's memory."""

    def __init__(
        self,
        memory: Memory,
        vote_of: VoteOf,
        clock: Clock,
        tell: Callable[[Event], None],
        on_news: Callable[[Iterable[JobId]], None],
        endpoints: int,
    ) -> None:
        self._memory = memory
        self._vote_of = vote_of
        self._clock = clock
        self._tell = tell
        self._on_news = on_news
        self._needed = min(VOICES, endpoints)
        self._told: dict[JobId, dict[FaultVote, set[str]]] = {}

    def heard(
        self, source: str, logs: Sequence[Mapping[str, Any]], at: float | None = None
    ) -> None:
        """These are what the endpoint named `source` tells; of second `at`, by its word, or now."""
        now = self._clock.now()
        for vote in filter(None, map(self._vote_of, logs)):
            if vote.job in self._memory.jobs:
                self._claim(source, vote, now if at is None else min(at, now))

    def concerns(self, log: Mapping[str, Any]) -> bool:
        """Whether it is a report of a job that is tended."""
        vote = self._vote_of(log)
        return vote is not None and vote.job in self._memory.jobs

    def _claim(self, source: str, vote: FaultVote, at: float) -> None:
        claims = self._told.setdefault(vote.job, {})
        own = sum(source in sources for sources in claims.values())
        if own >= MOST_AUDITORS and source not in claims.get(vote, set()):
            return  # of this endpoint: what the others tell still counts
        sources = claims.setdefault(vote, set())
        sources.add(source)
        known = self._memory.jobs[vote.job]
        new = FaultReport(vote.generation, vote.auditor, at)
        if len(sources) < self._needed or any(new.same(one) for one in known.reports):
            return
        known.reports = (*known.reports, new)
        self._forget_ended()
        text = f"auditor {vote.auditor} reports that it does not answer"
        self._tell(
            Event(new.at, REPORTED, vote.job, vote.generation, Level.ERROR, text,
                  {"auditor": vote.auditor})
        )  # fmt: skip
        self._on_news([vote.job])

    def _forget_ended(self) -> None:
        for job in [job for job in self._told if job not in self._memory.jobs]:
            del self._told[job]
