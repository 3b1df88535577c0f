"""Transactions: once, recorded before broadcast, replaced when stuck, found again after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.encoding import Fees
from agent.chain.endpoints import Endpoints
from agent.chain.fees import FeePolicy, fees_now, raised
from agent.chain.head import Finality
from agent.chain.nonces import first_free
from agent.chain.transaction_log import TxRecord, TxStatus
from agent.chain.transactions import (
    Confirmed,
    Patience,
    Pending,
    Reverted,
    Transactions,
    Waiting,
    Why,
)
from agent.market.model import JobId, JobStatus, Wei
from agent.markets.registry.reads import Market
from faults import RetryLater
from tests.agent.chain.memory_log import MemoryLog

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

RICH = FeePolicy(per_job=Wei(10**18), per_day=Wei(10**19))
DEPTH = 2


class Crash(BaseException):
    """The process ends here."""


class FailingLog(MemoryLog):
    """A log whose process dies at the n-th write: before it is durable, or right after."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_before = self.dies_after = self.full = False

    def put(self, record: TxRecord) -> None:
        if self.full:
            raise RetryLater("the disk is full")
        if self.dies_before:
            raise Crash
        super().put(record)
        if self.dies_after:
            raise Crash


def sender(
    stage: Stage, endpoints: Endpoints, log: MemoryLog, policy: FeePolicy = RICH
) -> Transactions:
    return Transactions(
        endpoints, stage.signers[0], log, stage.clock, policy=policy, finality=Finality(DEPTH),
        patience=Patience(replace=30, rebroadcast=15, retry=5),
    )  # fmt: skip


@pytest.fixture
def log() -> FailingLog:
    return FailingLog()


@pytest_asyncio.fixture
async def job(stage: Stage) -> AsyncIterator[JobId]:
    stage.offer()
    yield stage.request()


@pytest.fixture
def transactions(stage: Stage, endpoints: Endpoints, log: FailingLog) -> Transactions:
    return sender(stage, endpoints, log)


async def begin(transactions: Transactions, stage: Stage, job: JobId) -> Any:
    call = stage.calls.report_started(job, "1.2.3.4:1300")
    return await transactions.submit(call, key=f"reportStarted:{job}:1", job=job)


def nonce(stage: Stage) -> int:
    return stage.node.evm.nonce(bytes.fromhex(stage.provider[2:]))


async def test_submit__on_a_slow_node__asks_gas_fees_and_balance_at_once(
    stage: Stage,
    endpoints: Endpoints,
    transactions: Transactions,
    job: JobId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several, all_asked, asked = endpoints.several, asyncio.Event(), 0

    async def slow(one: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            all_asked.set()
        await asyncio.wait_for(all_asked.wait(), 30)
        return await several(one)

    monkeypatch.setattr(endpoints, "several", slow)
    assert isinstance(await begin(transactions, stage, job), Pending)


async def test_submit__would_revert_and_no_balance_is_told__is_told_as_reverting(
    stage: Stage, transactions: Transactions, job: JobId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> int:
        raise RetryLater("no node tells")

    monkeypatch.setattr(transactions._account, "balance", away)
    call = stage.calls.report_started(JobId(job + 1), "1.2.3.4:1300")
    assert isinstance(await transactions.submit(call, key="x", job=job), Reverted)


async def test_submit__again_and_again__is_one_transaction(
    stage: Stage, transactions: Transactions, market: Market, job: JobId
) -> None:
    before = nonce(stage)
    assert isinstance(await begin(transactions, stage, job), Pending)
    assert isinstance(await begin(transactions, stage, job), Pending)
    await transactions.pump()
    state = await begin(transactions, stage, job)
    assert isinstance(state, Confirmed)
    assert not state.final
    assert state.fee > 0
    assert nonce(stage) == before + 1
    assert (await market.jobs([job], stage.head))[job].status is JobStatus.RUNNING
    stage.node.call("evm_mine", DEPTH)
    await transactions.pump()
    assert isinstance(state := await begin(transactions, stage, job), Confirmed)
    assert state.final
    asked = stage.node.requests
    await transactions.pump()
    assert stage.node.requests == asked


async def test_submit__would_revert__sends_nothing_and_says_why(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    before = nonce(stage)
    call = stage.calls.finalize_exit(job)
    state = await transactions.submit(call, key="x", job=job)
    assert isinstance(state, Reverted)
    assert state.reason == "cool-down not over"
    assert (log.records, nonce(stage), state.tx_hash) == ({}, before, "")
    asked = stage.node.requests
    assert await transactions.submit(call, key="x", job=job) == state
    assert stage.node.requests == asked  # not simulated again at once
    stage.send(0, stage.calls.request_exit(job))
    stage.clock.at += 200
    assert isinstance(await transactions.submit(call, key="x", job=job), Pending)


async def test_mined_revert__deterministic__is_never_sent_again(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    stage.node.evm.automine = False
    assert isinstance(await begin(transactions, stage, job), Pending)
    stage.clock.at += 400  # the bootstrapping window closes before the block
    stage.node.call("evm_mine")
    await transactions.pump()
    state = await begin(transactions, stage, job)
    assert isinstance(state, Reverted)
    assert state.tx_hash
    before = nonce(stage)
    for _ in range(3):
        stage.clock.at += 100
        stage.node.call("evm_mine", 3)
        await transactions.pump()
        assert isinstance(await begin(transactions, stage, job), Reverted)
    assert nonce(stage) == before


async def test_pump__one_is_not_told__others_are_found_mined(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    """Why the first reverted can't be asked just now; the second is in the same block."""
    stage.node.evm.automine = False
    assert isinstance(await begin(transactions, stage, job), Pending)
    stake = stage.calls.stake(Wei(1))
    assert isinstance(await transactions.submit(stake, key="stake"), Pending)
    stage.clock.at += 400  # the bootstrapping window closes before the block
    stage.node.call("evm_mine")
    stage.node.faults.fail_methods = ["eth_estimateGas"]
    await transactions.pump()
    assert isinstance(await transactions.submit(stake, key="stake"), Confirmed)
    assert isinstance(await begin(transactions, stage, job), Pending)
    stage.node.faults.fail_methods = []
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Reverted)


async def test_mined_failure__of_the_moment__is_sent_again_with_more_gas_at_most_three_times(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    call = replace(stage.calls.settle(job), gas=30_000)  # too little, whatever is estimated
    for send in (1, 2, 3):
        assert isinstance(await transactions.submit(call, key="s", job=job), Pending)
        await transactions.pump()
        assert log.records[("s", send)].status is (
            TxStatus.FAILED if send < 3 else TxStatus.REVERTED
        )
    assert isinstance(await transactions.submit(call, key="s", job=job), Reverted)
    assert len(log.records) == 3


async def test_pump__stuck__is_replaced_with_higher_fees_under_the_same_nonce(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    before = nonce(stage)
    stage.node.evm.min_tip = 2 * 10**9
    await begin(transactions, stage, job)
    for _ in range(4):
        stage.clock.at += 31
        await transactions.pump()
        stage.node.call("evm_mine")
    record = log.records[(f"reportStarted:{job}:1", 1)]
    await transactions.pump()
    assert isinstance(state := await begin(transactions, stage, job), Confirmed)
    tips = [attempt.fees.tip for attempt in record.attempts]
    assert len(tips) >= 4
    assert all(10 * later >= 11 * earlier for earlier, later in pairwise(tips))
    assert (nonce(stage), state.tx_hash) == (before + 1, record.attempts[-1].hash)


async def test_pump__node_forgot_it__is_broadcast_again(
    stage: Stage, transactions: Transactions, job: JobId
) -> None:
    stage.node.evm.automine = False
    await begin(transactions, stage, job)
    assert stage.node.call("devnet_drop") == 1
    stage.clock.at += 16
    await transactions.pump()
    stage.node.call("evm_mine")
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


async def test_crash__before_the_record__nothing_was_sent(
    stage: Stage, endpoints: Endpoints, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    before, log.dies_before = nonce(stage), True
    with pytest.raises(Crash):
        await begin(transactions, stage, job)
    assert (nonce(stage), log.records) == (before, {})
    log.dies_before = False
    restarted = sender(stage, endpoints, log)
    await begin(restarted, stage, job)
    assert nonce(stage) == before + 1


async def test_crash__recorded_but_not_broadcast__the_very_same_is_sent(
    stage: Stage, endpoints: Endpoints, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    before, log.dies_after = nonce(stage), True
    with pytest.raises(Crash):
        await begin(transactions, stage, job)
    log.dies_after = False
    (record,) = log.records.values()
    assert nonce(stage) == before
    restarted = sender(stage, endpoints, log)
    await restarted.pump()
    await restarted.pump()
    state = await begin(restarted, stage, job)
    assert isinstance(state, Confirmed)
    assert (state.tx_hash, nonce(stage)) == (record.attempts[0].hash, before + 1)


async def test_crash__broadcast_but_its_end_not_recorded__is_found_by_its_hash(
    stage: Stage, endpoints: Endpoints, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    await begin(transactions, stage, job)  # mined at once; nobody looked
    mined = nonce(stage)
    restarted = sender(stage, endpoints, log)
    assert isinstance(await begin(restarted, stage, job), Pending)
    await restarted.pump()
    assert isinstance(await begin(restarted, stage, job), Confirmed)
    assert nonce(stage) == mined


async def test_fork__takes_it_back__is_sent_again_and_confirmed_again(
    stage: Stage, transactions: Transactions, job: JobId
) -> None:
    stage.node.call("evm_mine")
    await begin(transactions, stage, job)
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)
    stage.node.call("devnet_reorg", 1)
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Pending)
    stage.clock.at += 16
    await transactions.pump()
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


async def test_many__at_once__take_one_sequence_of_nonces(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    import asyncio

    stage.node.evm.automine = False
    jobs = [job, *(stage.request() for _ in range(7))]
    await asyncio.gather(*(begin(transactions, stage, each) for each in jobs))
    start = nonce(stage)
    assert sorted(r.nonce for r in log.records.values()) == list(range(start, start + 8))
    stage.node.call("evm_mine")
    await transactions.pump()
    for each in jobs:
        assert isinstance(await begin(transactions, stage, each), Confirmed)


async def test_nonce_taken_by_another_program__is_noticed_and_sent_under_the_next(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    stage.node.evm.automine = False
    await begin(transactions, stage, job)
    stage.node.call("devnet_drop")
    stage.send(0, stage.calls.stake(Wei(1)))  # the same key, elsewhere
    for _ in range(5):
        await transactions.pump()
        stage.node.call("evm_mine")
    assert isinstance(await begin(transactions, stage, job), Pending)
    stage.node.call("evm_mine")
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)
    assert log.records[(f"reportStarted:{job}:1", 1)].status is TxStatus.LOST


async def test_receipts_hidden_for_many_blocks__are_waited_for_and_nothing_is_sent_again(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    stage.node.evm.automine = False
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    stage.node.call("evm_mine")
    stage.node.faults.null_methods = ["eth_getTransactionReceipt"]
    for _ in range(12):
        await transactions.pump()
        state = await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
        assert isinstance(state, Pending)
        stage.node.call("evm_mine")
    stage.node.faults.null_methods = []
    await transactions.pump()
    assert isinstance(await transactions.state("stake"), Confirmed)
    assert [record.send for record in log.records.values()] == [1]


async def test_submit__the_log_can_t_be_written_now__sends_nothing_and_later_does(
    stage: Stage, transactions: Transactions, log: FailingLog, job: JobId
) -> None:
    before = nonce(stage)
    log.full = True
    assert isinstance(await begin(transactions, stage, job), Waiting)
    stage.node.call("evm_mine")
    assert nonce(stage) == before
    log.full = False
    stage.clock.at += 10
    assert isinstance(await begin(transactions, stage, job), Pending)
    stage.node.call("evm_mine")
    log.full = True
    await transactions.pump()
    log.full = False
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


@given(mined=st.integers(0, 9), taken=st.sets(st.integers(0, 15)))
def test_first_free__any_records__leaves_no_gap_and_takes_none_twice(
    mined: int, taken: set[int]
) -> None:
    found = first_free(mined, taken)
    assert found >= mined
    assert found not in taken
    assert set(range(mined, found)) <= taken


async def test_budgets_and_cap__spent__wait_and_send_nothing(
    stage: Stage, endpoints: Endpoints, job: JobId
) -> None:
    before = nonce(stage)
    for policy, why in (
        (replace(RICH, per_job=Wei(10**12)), Why.BUDGET),
        (replace(RICH, per_day=Wei(10**12)), Why.BUDGET),
        (replace(RICH, cap_per_gas=Wei(10**6)), Why.FEES),
    ):
        state = await begin(sender(stage, endpoints, MemoryLog(), policy), stage, job)
        assert isinstance(state, Waiting)
        assert state.why is why
    assert nonce(stage) == before


async def test_budget_of_a_day__is_whole_again_after_a_day(
    stage: Stage, endpoints: Endpoints, log: FailingLog, job: JobId
) -> None:
    transactions = sender(stage, endpoints, log, replace(RICH, per_day=Wei(6 * 10**14)))
    sent = 0
    for number in range(20):
        state = await transactions.submit(stage.calls.stake(Wei(1)), key=f"stake:{number}")
        await transactions.pump()
        sent += isinstance(state, Pending)
    assert 0 < sent < 20
    assert log.worst_fees() <= 6 * 10**14
    stage.clock.at += 86_401
    assert isinstance(await transactions.submit(stage.calls.stake(Wei(1)), key="next"), Pending)


async def test_no_funds__waits_and_names_the_account(stage: Stage, endpoints: Endpoints) -> None:
    from agent.chain.wallet import new_signer

    poor = new_signer()
    call = replace(stage.calls.deregister("x"), to=stage.provider, data=b"")
    transactions = Transactions(endpoints, poor, MemoryLog(), stage.clock, policy=RICH)
    state = await transactions.submit(call, key="k")
    assert isinstance(state, Waiting)
    assert state.why is Why.FUNDS
    assert poor.address in state.message


async def test_submit__no_node__waits_and_later_sends(
    stage: Stage, transactions: Transactions, job: JobId
) -> None:
    stage.node.faults.refuse = True
    state = await begin(transactions, stage, job)
    assert isinstance(state, Waiting)
    assert state.why is Why.NODES
    await transactions.pump()
    stage.node.faults.refuse = False
    stage.clock.at = state.retry_at + 60
    assert isinstance(await begin(transactions, stage, job), Pending)


def test_fees__any_market__stay_under_the_cap_and_outbid() -> None:
    policy = FeePolicy(cap_per_gas=Wei(100), least_tip=Wei(2))
    assert fees_now(10, 5, policy) == Fees(Wei(25), Wei(5))
    assert fees_now(10, 0, policy) == Fees(Wei(22), Wei(2))
    assert fees_now(60, 1000, policy) == Fees(Wei(100), Wei(40))
    assert fees_now(98, 5, policy) == Fees(Wei(100), Wei(2))
    assert fees_now(99, 5, policy) is None
    assert raised(Fees(Wei(20), Wei(4)), None, policy) == Fees(Wei(26), Wei(6))
    assert raised(Fees(Wei(20), Wei(4)), Fees(Wei(50), Wei(9)), policy) == Fees(Wei(50), Wei(9))
    assert raised(Fees(Wei(95), Wei(4)), None, policy) is None


async def test_submit__the_same_call_under_another_key__is_about_the_one_that_is_open(
    stage: Stage, endpoints: Endpoints
) -> None:
    """After a fork a job is decided anew under another key: what waits is not sent twice."""
    log = MemoryLog()
    transactions = sender(stage, endpoints, log)
    stage.node.evm.automine = False
    first = await transactions.submit(stage.calls.stake(Wei(1)), key="one")
    again = await transactions.submit(stage.calls.stake(Wei(1)), key="two")
    other = await transactions.submit(stage.calls.stake(Wei(2)), key="three")
    assert (first.key, again.key, other.key) == ("one", "one", "three")
    assert len(log.records) == 2
