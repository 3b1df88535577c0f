"""Every number of a node is a claim: counts, receipts and refusals that are false, and gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.encoding import Fees
from agent.chain.endpoints import Endpoints
from agent.chain.fees import FeePolicy, market_fees
from agent.chain.nonces import FILL_MOST, GAP_SECONDS, LEAP, Gaps, Leap, is_ripe
from agent.chain.receipts import receipt_of
from agent.chain.rpc import NodeRefused, Rpc
from agent.chain.transaction_log import Attempt, TxStatus
from agent.chain.transactions import (
    Confirmed,
    Pending,
    Reverted,
    Transactions,
    Waiting,
    Why,
)
from agent.market.model import BlockNumber, JobId, Wei
from devnet.chain.node import ChainServer
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.test_transactions import RICH, sender

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

Json = Any
Lie = Callable[[Json], Json]


def lying(node: ChainServer, method: str, lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the node's results of a method are what `lie` makes of the true ones."""
    true = node.methods.call

    def call(asked: str, params: list[Json]) -> Json:
        found = true(asked, params)
        return lie(found) if asked == method else found

    monkeypatch.setattr(node.methods, "call", call)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def transactions(stage: Stage, endpoints: Endpoints, log: MemoryLog) -> Transactions:
    return sender(stage, endpoints, log)


@pytest_asyncio.fixture
async def two(stage: Stage) -> AsyncIterator[tuple[Endpoints, ChainServer]]:
    """The first one may lie; the second is honest."""
    with stage.node.twin() as liar:
        opened = await Endpoints.open([liar.url, stage.node.url], stage.clock)
        yield opened, liar
        await opened.close()


async def confirmed(stage: Stage, transactions: Transactions, key: str, rounds: int = 8) -> Any:
    """Ticks of some seconds until the key is confirmed."""
    for _ in range(rounds):
        await transactions.pump()
        stage.clock.at += 4
        stage.node.call("evm_mine")
        state = await transactions.submit(stage.calls.stake(Wei(1)), key=key)
        if isinstance(state, Confirmed):
            return state
    return state


async def test_count__one_answer_five_too_high__the_gap_is_told_and_filled(
    stage: Stage, transactions: Transactions, log: MemoryLog
) -> None:
    with pytest.MonkeyPatch.context() as lie:
        lying(stage.node, "eth_getTransactionCount", lambda true: hex(int(true, 16) + 5), lie)
        await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    await transactions.pump()
    assert isinstance(await transactions.state("stake"), Pending)
    assert isinstance(await confirmed(stage, transactions, "stake"), Confirmed)
    filled = [record for record in log.records.values() if record.key.startswith("fill:")]
    assert len(filled) == 5
    assert [record.send for record in log.records.values() if record.key == "stake"] == [1]


@pytest.mark.parametrize("absurd", [100, 10**9, 2**62])
async def test_count__an_absurd_one__frees_the_order(
    stage: Stage, transactions: Transactions, log: MemoryLog, absurd: int
) -> None:
    with pytest.MonkeyPatch.context() as lie:
        lying(stage.node, "eth_getTransactionCount", lambda true: hex(absurd), lie)
        await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    state = await confirmed(stage, transactions, "stake")
    assert isinstance(state, Confirmed)
    first, second = (log.records[("stake", send)] for send in (1, 2))
    assert first.status is TxStatus.LOST
    assert "is not reached" in first.reason
    assert second.nonce < 100
    assert await transactions.submit(stage.calls.stake(Wei(1)), key="next")


async def test_count__absurd_beside_what_was_sent__is_not_believed_at_once(
    stage: Stage, transactions: Transactions, log: MemoryLog
) -> None:
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    with pytest.MonkeyPatch.context() as lie:
        lying(stage.node, "eth_getTransactionCount", lambda true: hex(10**9), lie)
        state = await transactions.submit(stage.calls.stake(Wei(2)), key="next")
    assert isinstance(state, Waiting)
    assert state.why is Why.NODES
    assert "nonce 1000000000" in state.message
    stage.clock.at = state.retry_at
    assert isinstance(await transactions.submit(stage.calls.stake(Wei(2)), key="next"), Pending)
    assert max(record.nonce for record in log.records.values()) < 100


async def test_count__two_endpoints__the_lower_one_counts(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    with pytest.MonkeyPatch.context() as lie:
        lying(liar, "eth_getTransactionCount", lambda true: hex(int(true, 16) + 5), lie)
        await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    await transactions.pump()
    assert isinstance(await transactions.state("stake"), Confirmed)


async def test_count__one_of_two_says_that_all_is_taken__nothing_is_lost_or_sent_twice(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    stage.node.evm.automine = False
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    stage.node.call("devnet_drop")  # it is in no pool, and waits to be sent again
    with pytest.MonkeyPatch.context() as lie:
        lying(liar, "eth_getTransactionCount", lambda true: hex(10**9), lie)
        for _ in range(8):
            await transactions.pump()
            stage.node.call("evm_mine")
    assert [record.send for record in log.records.values()] == [1]
    assert log.records[("stake", 1)].status is not TxStatus.LOST


async def test_receipt__says_that_a_fortune_was_paid__counts_what_was_signed(
    stage: Stage, transactions: Transactions, log: MemoryLog
) -> None:
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    worst = log.worst_fees()
    false = {"effectiveGasPrice": hex(2**200), "gasUsed": hex(2**60)}
    with pytest.MonkeyPatch.context() as lie:
        lying(stage.node, "eth_getTransactionReceipt", lambda true: true and {**true, **false}, lie)
        await transactions.pump()
    assert isinstance(await transactions.state("stake"), Confirmed)
    assert log.worst_fees() == worst


async def test_receipt__a_rollup_s_own_fee__is_the_lower_word_of_two(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    with pytest.MonkeyPatch.context() as lie:
        false = {"l1Fee": hex(2**200)}
        lying(liar, "eth_getTransactionReceipt", lambda true: true and {**true, **false}, lie)
        await transactions.pump()
    record = log.records[("stake", 1)]
    assert record.fee <= record.gas * record.attempts[0].fees.max_fee


ATTEMPT = Attempt("0xAA", "0x", Fees(Wei(100), Wei(1)), 0.0)


@given(used=st.integers(0, 2**256 - 1), price=st.integers(0, 2**256 - 1))
def test_receipt_of__any_numbers__is_at_most_gas_times_what_was_signed(
    used: int, price: int
) -> None:
    answer = {"blockNumber": "0x5", "status": "0x1", "gasUsed": hex(used),
              "effectiveGasPrice": hex(price), "transactionHash": "0xaa"}  # fmt: skip
    receipt = receipt_of(answer, ATTEMPT, gas=1000)
    assert receipt.fee <= 100_000
    assert receipt.fee == used * price or receipt.bounded
    for key, value in (("transactionHash", "0xbb"), ("status", "0x2"), ("blockNumber", None)):
        with pytest.raises(NodeRefused):
            receipt_of({**answer, key: value}, ATTEMPT, gas=1000)


def changed(**fields: Any) -> Lie:
    return lambda true: true and {**true, **fields}


@pytest.mark.parametrize(
    ("method", "lie"),
    [("eth_estimateGas", lambda true: hex(2**31)), ("eth_estimateGas", lambda true: hex(21_500)),
     ("eth_getBalance", lambda true: "0x0"),
     ("eth_getBlockByNumber", changed(baseFeePerGas=hex(2**200))),
     ("eth_getBlockByNumber", changed(baseFeePerGas=hex(150 * 10**9))),
     ("eth_getBlockByNumber", changed(baseFeePerGas="0x0")),
     ("eth_maxPriorityFeePerGas", lambda true: hex(2**200)),
     ("eth_getTransactionReceipt", lambda true: None),
     ("eth_getTransactionReceipt", changed(status="0x0"))],
)  # fmt: skip
async def test_call__one_of_two_endpoints_lies_of_it__is_mined_once_all_the_same(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog, method: str, lie: Lie
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    with pytest.MonkeyPatch.context() as patch:
        lying(liar, method, lie, patch)
        assert isinstance(
            await transactions.submit(stage.calls.stake(Wei(1)), key="stake"), Pending
        )
        await transactions.pump()
    assert isinstance(await confirmed(stage, transactions, "stake"), Confirmed)
    assert [record.send for record in log.records.values()] == [1]


async def test_report__of_a_job_that_one_endpoint_invents__fails_in_one_block_and_is_not_repeated(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    true = liar.methods.call
    report = stage.calls.report_started(JobId(99), "1.2.3.4:1300")

    def call(asked: str, params: list[Json]) -> Json:
        return "0x30000" if asked == "eth_estimateGas" else true(asked, params)

    with pytest.MonkeyPatch.context() as lie:
        lie.setattr(liar.methods, "call", call)
        for _ in range(5):
            state = await transactions.submit(report, key="report")
            await transactions.pump()
            stage.clock.at += 10
            stage.node.call("evm_mine")
    assert isinstance(state, Reverted)
    assert [record.send for record in log.records.values()] == [1]


async def test_receipt__that_one_of_two_endpoints_invents__is_no_end_of_the_call(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    stage.node.evm.automine = False
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    stage.node.call("devnet_drop")
    (tx_hash,) = (record.attempts[0].hash for record in log.records.values())
    false = {"transactionHash": tx_hash, "blockNumber": "0x0", "gasUsed": "0x1", "status": "0x1"}
    with pytest.MonkeyPatch.context() as lie:
        lying(liar, "eth_getTransactionReceipt", lambda true: false, lie)
        for _ in range(5):
            await transactions.pump()
            assert isinstance(await transactions.state("stake"), Pending)
            stage.clock.at += 10
            stage.node.call("evm_mine")
    assert isinstance(await confirmed(stage, transactions, "stake"), Confirmed)


async def test_receipt__told_by_one_of_two_while_the_other_rests__is_no_end_of_the_call(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, liar = two
    transactions = sender(stage, endpoints, log)
    stage.node.evm.automine = False
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    (tx_hash,) = (record.attempts[0].hash for record in log.records.values())
    false = {"transactionHash": tx_hash, "blockNumber": "0x1", "gasUsed": "0x1", "status": "0x1"}
    stage.node.faults.refuse = True
    with pytest.MonkeyPatch.context() as lie:
        lying(liar, "eth_getTransactionReceipt", lambda true: false, lie)
        for _ in range(10):
            await transactions.pump()
            assert isinstance(await transactions.state("stake"), Pending)
            stage.clock.at += 10
    assert transactions.told_by_one("stake")
    stage.node.faults.refuse = False
    stage.clock.at += 60
    assert isinstance(await confirmed(stage, transactions, "stake"), Confirmed)
    assert not transactions.told_by_one("stake")
    assert [record.send for record in log.records.values()] == [1]


async def staked_then_alone(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> tuple[Transactions, Confirmed]:
    """A call that both endpoints told to be mined; from then on the honest one rests."""
    transactions = sender(stage, two[0], log)
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    first = await confirmed(stage, transactions, "stake")
    assert isinstance(first, Confirmed)
    stage.node.faults.refuse = True
    return transactions, first


async def test_receipt__denied_by_one_of_two_while_the_other_rests__is_the_same_call_on_its_way(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    transactions, _ = await staked_then_alone(stage, two, log)
    _, liar = two
    with pytest.MonkeyPatch.context() as lie:
        lying(liar, "eth_getTransactionReceipt", lambda true: None, lie)
        for number in range(10):
            again = await transactions.submit(
                stage.calls.stake(Wei(1)), key=f"again{number}", as_of=BlockNumber(10**6)
            )
            assert isinstance(again, Pending)
            assert again.key == "stake"
            stage.clock.at += 10
    stage.node.faults.refuse = False
    stage.clock.at += 60
    assert isinstance(await confirmed(stage, transactions, "stake"), Confirmed)
    assert [record.send for record in log.records.values()] == [1]


async def test_receipt__moved_by_a_fork_as_one_of_two_tells__is_not_sent_again(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    transactions, first = await staked_then_alone(stage, two, log)
    _, liar = two
    with pytest.MonkeyPatch.context() as moved:
        later = changed(blockNumber=hex(first.block + 2))
        lying(liar, "eth_getTransactionReceipt", later, moved)
        again = await transactions.submit(
            stage.calls.stake(Wei(1)), key="again", as_of=BlockNumber(first.block + 1)
        )
    assert isinstance(again, Confirmed)
    assert (again.key, again.block) == ("stake", first.block + 2)
    assert len(log.records) == 1


async def test_receipt__of_another_end_as_one_of_two_tells__does_not_count_at_once(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    transactions, first = await staked_then_alone(stage, two, log)
    _, liar = two
    with pytest.MonkeyPatch.context() as lie:
        failed = changed(blockNumber=hex(first.block + 2), status="0x0")
        lying(liar, "eth_getTransactionReceipt", failed, lie)
        for _ in range(10):
            await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
            await transactions.pump()
            stage.clock.at += 10
    assert [record.send for record in log.records.values()] == [1]


async def test_receipt__told_by_one_of_two_for_minutes__counts(
    stage: Stage, two: tuple[Endpoints, ChainServer], log: MemoryLog
) -> None:
    endpoints, _ = two
    transactions = sender(stage, endpoints, log)
    await transactions.submit(stage.calls.stake(Wei(1)), key="stake")
    stage.node.faults.refuse = True
    await transactions.pump()
    assert isinstance(await transactions.state("stake"), Pending)
    stage.clock.at += 121
    await transactions.pump()
    assert isinstance(await transactions.state("stake"), Confirmed)


async def test_second_endpoint__that_hangs__is_waited_for_a_moment_alone(
    stage: Stage, two: tuple[Endpoints, ChainServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints, _ = two
    monkeypatch.setattr("agent.chain.endpoints.SECOND_SECONDS", 0.01)
    never = asyncio.Event()

    async def read(rpc: Rpc) -> str:
        if str(stage.node.url) in str(rpc.url):
            await never.wait()
        return str(rpc.url)

    (one,) = await endpoints.several(read)
    assert str(stage.node.url) not in str(one)


async def test_budget__spent_by_settlements__leaves_half_for_reports_and_exits(
    stage: Stage, endpoints: Endpoints, log: MemoryLog
) -> None:
    policy = FeePolicy(per_job=Wei(10**18), per_day=Wei(6 * 10**14))
    transactions = sender(stage, endpoints, log, policy)
    for number in range(20):
        state = await transactions.submit(stage.calls.stake(Wei(number + 1)), key=f"s{number}")
        await transactions.pump()
    assert isinstance(state, Waiting)
    assert "but for 50 % for reports and exits" in state.message
    assert log.worst_fees() <= 3 * 10**14
    stage.offer()
    report = stage.calls.report_started(stage.request(), "1.2.3.4:1300")
    assert isinstance(await transactions.submit(report, key="report"), Pending)


async def test_balance__just_enough_for_a_report__is_kept_from_settlements(
    stage: Stage,
    endpoints: Endpoints,
    transactions: Transactions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage.offer()
    report = stage.calls.report_started(stage.request(), "1.2.3.4:1300")
    fees = await market_fees(endpoints, RICH)
    assert fees is not None
    balance = hex(410_000 * fees.max_fee)
    lying(stage.node, "eth_getBalance", lambda true: balance, monkeypatch)
    state = await transactions.submit(stage.calls.stake(Wei(1)), key="s")
    assert isinstance(state, Waiting)
    assert state.why is Why.FUNDS
    assert isinstance(await transactions.submit(report, key="report"), Pending)


@given(
    counted=st.integers(0, 50),
    waiting=st.sets(st.integers(0, 60), min_size=1),
    others=st.sets(st.integers(0, 60)),
)
def test_gaps__any_records__what_is_missing_is_below_the_lowest_and_nobody_s(
    counted: int, waiting: set[int], others: set[int]
) -> None:
    taken = waiting | others
    gap = Gaps().look(counted, sorted(waiting), taken, 100.0)
    below = set(range(counted, min(waiting))) - taken
    if gap is None:
        assert not {nonce for nonce in below if nonce <= counted + FILL_MOST}
        return
    assert set(gap.missing) <= below
    assert not is_ripe(gap, 100.0)
    assert is_ripe(gap, 100.0 + GAP_SECONDS)


def test_gaps__the_clock_is_set_back__begin_anew() -> None:
    gaps = Gaps()
    gaps.look(5, [7], [7], 100.0)
    gap = gaps.look(5, [7], [7], 10.0)
    assert gap is not None
    assert gap.since == 10.0
    assert gaps.first_told(gap)
    assert not gaps.first_told(gap)
    assert gaps.look(7, [7], [7], 11.0) is None


def test_leap__told_long_enough__is_believed() -> None:
    leap = Leap()
    assert leap.doubted(5, None, 0.0) == ""
    assert leap.doubted(10 + LEAP, 10, 0.0) == ""
    assert leap.doubted(11 + LEAP, 10, 0.0)
    assert leap.doubted(11 + LEAP, 10, 19.0)
    assert leap.doubted(11 + LEAP, 10, 20.0) == ""
    assert leap.doubted(11, 10, 21.0) == ""
    assert leap.doubted(99, 10, 22.0)
