"""The transactions' log on a server: it answers late, on a thread, and the loop turns on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from agent.aside import OnThread
from agent.chain.endpoints import Endpoints
from agent.chain.head import Finality
from agent.chain.transaction_log import TxRecord
from agent.chain.transactions import Pending, Transactions
from agent.market.model import JobId
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.test_transactions import RICH

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


class SlowLog(MemoryLog):
    """Answers when it is let, and says from which threads it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.threads = set[str]()

    def latest(self, key: str) -> TxRecord | None:
        self.threads.add(threading.current_thread().name)
        assert self.answers.wait(30)
        return super().latest(key)

    def nonces(self, least: int) -> Sequence[int]:
        assert self.answers.wait(30)
        return super().nonces(least)


async def test_submit__the_log_hangs__the_loop_turns_on_and_each_is_sent_once(
    stage: Stage, endpoints: Endpoints
) -> None:
    log, aside, turns = SlowLog(), OnThread("transactions"), 0
    sending = Transactions(
        endpoints, stage.signers[0], log, stage.clock, policy=RICH, finality=Finality(2),
        aside=aside,
    )  # fmt: skip
    stage.offer()
    jobs = [stage.request() for _ in range(4)]

    async def begin(job: JobId) -> object:
        call = stage.calls.report_started(job, "1.2.3.4:1300")
        return await sending.submit(call, key=f"report:{job}", job=job)

    log.answers.clear()
    asked = [asyncio.create_task(begin(job)) for job in jobs for _ in range(2)]
    while turns < 100:  # the log answers nothing in all that time
        turns += 1
        await asyncio.sleep(0)
    assert not log.records
    log.answers.set()
    states = await asyncio.gather(*asked)
    assert all(isinstance(state, Pending) for state in states)
    assert sorted(key for key, _ in log.records) == sorted(f"report:{job}" for job in jobs)
    nonces = [record.nonce for record in log.records.values()]
    assert len(set(nonces)) == len(jobs)
    assert max(nonces) - min(nonces) == len(jobs) - 1
    assert all(name.startswith("transactions") for name in log.threads)
    aside.close()
