"""What is told of a final block counts for the end it was asked for, and for no later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.decide.job_view import FinalView, Host, JobView, WitnessPhase
from agent.load.loader import Loader
from agent.load.remembered import Memory
from agent.market.model import BlockRef, Job, JobId, JobStatus, Notice, Price, Wei
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.samples import ACCOUNT, BLOCK, INSTANCE, JOB, NOW

pytestmark = pytest.mark.unit

OPEN = replace(
    JOB, id=JobId(3), status=JobStatus.RUNNING, assigned_at=NOW - 500, started_at=NOW - 500,
    settled_until=NOW - 500, escrow=Wei(10**9),
)  # fmt: skip
NOTICED = replace(OPEN, notice=Notice(Price(1), NOW - 10))
DRY = replace(OPEN, settled_until=NOW - 100, escrow=Wei(0))


class Chain:
    """One endpoint's word, and the time."""

    says: Job = OPEN

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        return dict.fromkeys(ids, self.says)

    def now(self) -> float:
        return float(NOW)


def loader(chain: Any, *, witness: bool) -> Loader:
    sources: Any = SimpleNamespace(
        market=chain, clock=chain, memory=Memory(), witness=chain if witness else None
    )
    return Loader(sources)


async def looked_at(loader: Loader, chain: Chain, job: Job) -> JobView:
    chain.says = job
    view = JobView(job.id, ACCOUNT, MarketV1Terms(), BLOCK, job, hosts=(Host(INSTANCE),))
    (found,) = await loader._with_finals([view], BLOCK)
    return found


async def test_final_word__of_an_end_that_was_taken_back__says_nothing_of_the_next() -> None:
    chain = Chain()
    told = loader(chain, witness=True)
    known = told._from.memory.job(OPEN.id)
    known.final = FinalView(BLOCK, NOTICED, WitnessPhase.SPOKE, NOTICED)
    ending = await looked_at(told, chain, NOTICED)
    assert ending.final == known.final  # of this end it does
    assert (await looked_at(told, chain, OPEN)).final is None
    again = await looked_at(told, chain, DRY)
    assert again.final == FinalView(BLOCK, DRY, WitnessPhase.SILENT)


async def test_final_word__one_endpoint__is_read_at_each_look() -> None:
    chain = Chain()
    alone = loader(chain, witness=False)
    assert (await looked_at(alone, chain, OPEN)).final is None
    for job in (NOTICED, DRY):
        found = await looked_at(alone, chain, job)
        assert found.final == FinalView(BLOCK, job, WitnessPhase.ABSENT)
