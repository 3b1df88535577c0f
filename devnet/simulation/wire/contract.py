"""A contract as a node tells of it: views at a block, and logs, with the node's own opinions.

Lies are those of `devnet.simulation.opinions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.chain.rpc import Json
from devnet.simulation import opinions
from devnet.simulation.blocks import Block
from devnet.simulation.names import REGISTRY
from devnet.simulation.opinions import FIRST_INVENTED, INVENTED, Lie, Views
from devnet.simulation.protocol import PAGE, Job, Refusal, Terms
from devnet.simulation.wire.words import REGISTRY_WORDS, Words

INVENTED_IDS = range(FIRST_INVENTED, FIRST_INVENTED + INVENTED)


@dataclass
class Told:
    """A contract as one node tells of it. `views` are the node's opinions."""

    views: Views
    words: Words
    _logs: dict[str, list[Json]] = field(default_factory=dict)

    def view(self, block: Block, data: bytes) -> str:
        """What eth_call answers. Raises Refusal where the contract reverts."""
        raise NotImplementedError

    def invents(self, args: tuple[Any, ...]) -> bool:
        """Whether the node has a call succeed that speaks of what is not."""
        return False

    def hides(self, block: Block, topics: Sequence[str]) -> bool:
        """Whether the node keeps this log of the block to itself."""
        return False

    def logs(self, blocks: Sequence[Block], topics: Sequence[str]) -> list[Json]:
        """The logs of these blocks whose first topic is one of `topics`."""
        if self.views.deaf:
            return []
        times = 3 if self.views.echo else 1
        found = (
            log
            for block in blocks
            for log in self._of_block(block)
            if not self.hides(block, log["topics"])
        )
        return [one for one in found if one["topics"][0] in topics] * times

    def _of_block(self, block: Block) -> list[Json]:
        if block.ref.hash not in self._logs:
            self._logs[block.ref.hash] = list(self._made(block))
        return self._logs[block.ref.hash]

    def _made(self, block: Block) -> Iterator[Json]:
        for index, event in enumerate(block.logs):
            topics, data = self.words.log(event)
            yield {
                "address": REGISTRY, "topics": topics, "data": data, "logIndex": hex(index),
                "blockNumber": hex(block.ref.number), "blockHash": block.ref.hash,
                "transactionHash": f"0x{int(block.ref.hash, 16) + (index << 128):064x}",
            }  # fmt: skip


@dataclass
class Contract(Told):
    """The registry. Answers are ABI-encoded, made once for each state of a job."""

    terms: Terms = field(kw_only=True)
    _rows: dict[int, tuple[Job, str]] = field(default_factory=dict)

    def view(self, block: Block, data: bytes) -> str:
        """What eth_call answers. Raises Refusal where the contract reverts."""
        name, args = self.words.called(data)
        if name == "job":
            return self._job(block, args[0])
        return REGISTRY_WORDS.answered(name, self._value(block, name, args))

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
        return REGISTRY_WORDS.answered("job", told.row())

    def _row(self, job: Job) -> str:
        known = self._rows.get(id(job))
        if known is None:
            known = self._rows[id(job)] = (job, REGISTRY_WORDS.answered("job", job.row()))
        return known[1]

    def hides(self, block: Block, topics: Sequence[str]) -> bool:
        if self.views.lie is not Lie.HIDDEN or len(topics) < 2:
            return False
        return opinions.hidden(self.views, block.state, int(topics[1], 16))

    def invents(self, args: tuple[Any, ...]) -> bool:
        return self.views.lie is Lie.INVENTED and bool(args) and args[0] in INVENTED_IDS
