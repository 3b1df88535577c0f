"""The registry as a node tells of it: views at a block, and logs, with the node's own opinions.

Lies are those of `SimChain.views`: a node is empty, lies about some jobs, loses or doubles logs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.chain.rpc import Json
from devnet.simulation.chain import Block, Views
from devnet.simulation.market import REGISTRY
from devnet.simulation.protocol import PAGE, USER_REQUEST, Job, Refusal, Terms
from devnet.simulation.wire import words


@dataclass
class Contract:
    """`views` are the opinions. Answers are ABI-encoded, made once for each state of a job."""

    terms: Terms
    views: Views
    _rows: dict[int, tuple[Job, str]] = field(default_factory=dict)
    _logs: dict[str, list[Json]] = field(default_factory=dict)

    def view(self, block: Block, data: bytes) -> str:
        """What eth_call answers. Raises Refusal where the contract reverts."""
        name, args = words.called(data)
        if name == "job":
            return self._job(block, args[0])
        return words.answered(name, self._value(block, name, args))

    def _value(self, block: Block, name: str, args: tuple[Any, ...]) -> Any:
        state = block.state
        match name:
            case "params":
                terms = self.terms
                return (
                    terms.stake_per_job, terms.job_bootstrapping, terms.job_startup,
                    terms.job_exit_cool_down, terms.quorum,
                )  # fmt: skip
            case "jobsOf":
                return self._jobs_of(block, *args)
            case "offer":
                provider, kind = args
                return state.listings.get((kind, provider), (0, 0))[0]
            case "stakeOf":
                return state.total[args[0]]
            case "lockedStakeOf":
                return state.locked[args[0]]
        raise Refusal(f"{name} is not of this model")

    def _jobs_of(self, block: Block, provider: str, start: int, count: int) -> list[int]:
        if self.views.empty:
            return []
        jobs = block.state.jobs
        active = [job.id for job in jobs if job.provider == provider and not job.stop_reason]
        return active[start : start + min(count, PAGE)]

    def _job(self, block: Block, number: int) -> str:
        jobs = block.state.jobs
        lie = hash((number, self.views.lies)) % 5 if self.views.lies else None
        if self.views.empty or lie == 0 or not 1 <= number <= len(jobs):
            raise Refusal("no such job")
        if lie == 1:
            return words.answered("job", stopped(jobs[number - 1]).row())
        return self._row(jobs[number - 1])

    def _row(self, job: Job) -> str:
        known = self._rows.get(id(job))
        if known is None:
            known = self._rows[id(job)] = (job, words.answered("job", job.row()))
        return known[1]

    # Logs.

    def logs(self, blocks: Sequence[Block], topics: Sequence[str]) -> list[Json]:
        """The logs of these blocks whose first topic is one of `topics`."""
        if self.views.deaf:
            return []
        times = 3 if self.views.echo else 1
        found = (log for block in blocks for log in self._of_block(block))
        return [log for log in found if log["topics"][0] in topics] * times

    def _of_block(self, block: Block) -> list[Json]:
        if block.ref.hash not in self._logs:
            self._logs[block.ref.hash] = list(_logs(block))
        return self._logs[block.ref.hash]


def _logs(block: Block) -> Iterator[Json]:
    for index, event in enumerate(block.logs):
        topics, data = words.log(event)
        yield {
            "address": REGISTRY, "topics": topics, "data": data, "logIndex": hex(index),
            "blockNumber": hex(block.ref.number), "blockHash": block.ref.hash,
        }  # fmt: skip


def stopped(job: Job) -> Job:
    """A lie: its user stopped it, just now."""
    lie = copy.copy(job)
    lie.stop_reason, lie.stopped_at = USER_REQUEST, max(job.assigned_at, job.settled_until)
    lie.escrow = 0
    return lie
