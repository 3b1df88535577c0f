"""The registry as a node tells of it: views at a block, and logs, with the node's own opinions.

Lies are those of `devnet.simulation.opinions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.chain.rpc import Json
from devnet.simulation import opinions
from devnet.simulation.chain import Block
from devnet.simulation.market import REGISTRY
from devnet.simulation.opinions import Lie, Views
from devnet.simulation.protocol import PAGE, Job, Refusal, Terms
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
                terms = opinions.terms(self.views, self.terms)
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
                return opinions.total_stake(self.views, state.total[args[0]])
            case "lockedStakeOf":
                return opinions.total_stake(self.views, state.locked[args[0]])
        raise Refusal(f"{name} is not of this model")

    def _jobs_of(self, block: Block, provider: str, start: int, count: int) -> list[int]:
        if self.views.lie is Lie.PAGES:
            return list(range(start + 1, start + 1 + min(count, PAGE)))
        active = opinions.active(self.views, block.state, provider)
        return active[start : start + min(count, PAGE)]

    def _job(self, block: Block, number: int) -> str:
        jobs = block.state.jobs
        told = opinions.job(self.views, block.state, number)
        if told is None:
            raise Refusal("no such job")
        if number <= len(jobs) and told is jobs[number - 1]:
            return self._row(told)
        return words.answered("job", told.row())

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
        found = (
            log for block in blocks for log in self._of_block(block) if self._tells(block, log)
        )
        return [one for one in found if one["topics"][0] in topics] * times

    def _tells(self, block: Block, log: Json) -> bool:
        if self.views.lie is not Lie.HIDDEN or len(log["topics"]) < 2:
            return True
        return not opinions.hidden(self.views, block.state, int(log["topics"][1], 16))

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
