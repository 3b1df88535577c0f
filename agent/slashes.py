"""Slashes of ours, as the logs that the watcher reads anyway tell them.

A job slashes a provider once at most: whoever was slashed on it is never matched with it again
(protocol, rule 7). So one line a job is exact, however often a log is read. A slash that a fork
took back stays told; what happens while the agent is down is in the stake, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from agent.journal import Event
from agent.market.model import Address, JobId
from agent.market.registry import changed_jobs, registry_abi
from agent.plan import Level
from agent.ports import Clock


class Slashes:
    """Stands where logs come in: `jobs_in` names the jobs, and `tell` hears of slashes of ours."""

    def __init__(self, provider: Address, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._provider = provider
        self._clock = clock
        self._tell = tell
        self._told: set[JobId] = set()

    def jobs_in(self, logs: Sequence[Mapping[str, Any]]) -> set[JobId]:
        """The jobs that these logs speak of, but for events that name another provider."""
        for each in logs:
            self._look(each)
        return changed_jobs(logs, self._provider)

    @cached_property
    def _topic(self) -> str:
        return registry_abi().topics["JobSlashed"]

    def _look(self, log: Mapping[str, Any]) -> None:
        topics = log.get("topics") or [None]
        if topics[0] != self._topic:
            return
        for job in changed_jobs([log], self._provider) - self._told:
            self._told.add(job)
            amount = _amount(log.get("data"))
            text = f"stake was slashed for this job: {amount / 10**18:g} POND"
            fields = {"amount": str(amount)}
            self._tell(
                Event(self._clock.now(), "job.slashed", job, None, Level.ERROR, text, fields)
            )


def _amount(data: object) -> int:
    """JobSlashed's one unindexed field, POND base units; 0 when a node's log has none."""
    try:
        return int(str(data), 16)
    except ValueError:
        return 0
