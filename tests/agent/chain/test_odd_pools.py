"""Transactions at nodes that refuse a part of what is asked, or take none at what is bid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from agent.chain.endpoints import Endpoints
from agent.chain.estimates import is_old_form
from agent.chain.fees import Asked, asked_by, market_fees
from agent.chain.head import Finality
from agent.chain.pool_refusals import are_of_what_is_there
from agent.chain.rpc import NodeRefused
from agent.chain.transaction_log import TxStatus
from agent.chain.transactions import Confirmed, Pending, Reverted, Transactions, Waiting
from agent.market.model import JobId, Wei
from devnet.chain.evm import Rejected
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.test_transactions import RICH, begin, sender
from tests.before_1559 import before_1559

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest_asyncio.fixture
async def job(stage: Stage) -> AsyncIterator[JobId]:
    stage.offer()
    yield stage.request()


@pytest.fixture
def transactions(stage: Stage, endpoints: Endpoints, log: MemoryLog) -> Transactions:
    return sender(stage, endpoints, log)


def refusing(stage: Stage, patch: pytest.MonkeyPatch, method: str, no: Rejected | None) -> None:
    """From now on the node refuses this method, or answers null."""
    true = stage.node.methods.call

    def call(asked: str, params: list[Any]) -> Any:
        if asked == method:
            if no is None:
                return None
            raise no
        return true(asked, params)

    patch.setattr(stage.node.methods, "call", call)


async def test_pump__receipts_are_refused_while_a_node_indexes__fees_are_raised_and_it_ends_well(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    stage.node.evm.automine = False
    await begin(transactions, stage, job)
    with pytest.MonkeyPatch.context() as patch:
        no = Rejected(-32000, "transaction indexing is in progress")
        refusing(stage, patch, "eth_getTransactionReceipt", no)
        stage.clock.at += 31
        fee = stage.node.evm.head.header.base_fee_per_gas
        stage.node.evm.min_tip = 10 * fee
        await transactions.pump()
        before = log.records[(f"reportStarted:{job}:1", 1)]
        stage.node.evm.min_tip = 0
        stage.node.call("evm_mine", 9)
        await transactions.pump()  # mined, and nobody tells by what: nothing is sent anew
    after = log.records[(f"reportStarted:{job}:1", 1)]
    assert (before.status, after.status) == (TxStatus.OPEN, TxStatus.OPEN)
    assert len(log.records) == 1
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


@pytest.mark.parametrize("no", [Rejected(-32000, "finalized block not found"), None], ids=str)
async def test_pump__no_final_block_is_told__what_is_mined_is_seen_and_not_final(
    stage: Stage, endpoints: Endpoints, log: MemoryLog, job: JobId, no: Rejected | None
) -> None:
    transactions = Transactions(
        endpoints, stage.signers[0], log, stage.clock, policy=RICH, finality=Finality()
    )
    await begin(transactions, stage, job)
    true = stage.node.methods.call

    def call(asked: str, params: list[Any]) -> Any:
        if params and params[0] == "finalized":
            if no is None:
                return None
            raise no
        return true(asked, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.node.methods, "call", call)
        stage.node.call("evm_mine", 9)
        await transactions.pump()
        assert isinstance(state := await begin(transactions, stage, job), Confirmed)
        assert not state.final
    await transactions.pump()
    assert isinstance(state := await begin(transactions, stage, job), Confirmed)
    assert state.final


async def test_pump__a_receipt_without_a_block__is_of_a_transaction_that_waits(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    stage.node.evm.automine = False
    await begin(transactions, stage, job)
    first = log.records[(f"reportStarted:{job}:1", 1)].attempts[0].hash
    true = stage.node.methods.call

    def call(asked: str, params: list[Any]) -> Any:
        found = true(asked, params)
        if asked == "eth_getTransactionReceipt" and found is None and params[0] == first:
            return {
                "transactionHash": first,
                "blockNumber": None,
                "blockHash": None,
                "status": "0x0",
            }
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.node.methods, "call", call)
        stage.clock.at += 31
        await transactions.pump()
        assert len(log.records[(f"reportStarted:{job}:1", 1)].attempts) == 2
        stage.node.call("evm_mine")
        await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


async def test_submit__no_node_takes_it_for_its_price__is_raised_at_once(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    """Of a chain that asks for 25 gwei more than its node suggests; half a minute would be lost at
    each quarter more."""
    true, wanted = stage.node.methods.call, 25 * 10**9

    def call(asked: str, params: list[Any]) -> Any:
        if asked == "eth_sendRawTransaction":
            sent = log.records[(f"reportStarted:{job}:1", 1)].attempts[-1]
            assert sent.raw == params[0]
            if sent.fees.tip < wanted:
                raise Rejected(-32000, f"transaction underpriced: minimum needed {wanted}")
        return true(asked, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.node.methods, "call", call)
        await begin(transactions, stage, job)
        for _ in range(8):
            stage.clock.at += 1
            await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)
    assert len(log.records[(f"reportStarted:{job}:1", 1)].attempts) <= 6


LITTLE_GAS = [
    "intrinsic gas too low: gas 160885, minimum needed 900000",
    "Intrinsic gas exceeds gas limit",
    "INTRINSIC_GAS_EXCEEDS_GAS_LIMIT",
    "GasLimitTooLow, GasLimit: 160885, IntrinsicGas: 900000",
    "insufficient gas for floor data gas cost",
    "Transaction gas is too low. There is not enough gas to cover minimal cost",
]


@pytest.mark.parametrize("words", LITTLE_GAS)
async def test_submit__no_node_takes_it_for_its_gas_limit__is_sent_with_more_gas_at_once(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId, words: str
) -> None:
    """A rollup whose parent chain became dear after the estimate."""
    true, wanted, key = stage.node.methods.call, 900_000, (f"reportStarted:{job}:1", 1)

    def call(asked: str, params: list[Any]) -> Any:
        if asked == "eth_sendRawTransaction" and log.records[key].gas < wanted:
            raise Rejected(-32000, words)
        return true(asked, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.node.methods, "call", call)
        await begin(transactions, stage, job)
        for _ in range(8):
            stage.clock.at += 1
            await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)
    fees = {attempt.fees.max_fee for attempt in log.records[key].attempts}
    assert len(fees) == 1, "no dearer gas was bid"


async def test_more_gas__is_bounded_by_what_a_call_can_take_and_by_the_budget(
    stage: Stage, endpoints: Endpoints, log: MemoryLog, job: JobId
) -> None:
    policy = replace(RICH, cap_per_gas=Wei(4 * 10**9), per_job=Wei(10**7 * 4 * 10**9))
    transactions, key = sender(stage, endpoints, log, policy=policy), f"reportStarted:{job}:1"
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_sendRawTransaction", Rejected(-32000, LITTLE_GAS[0]))
        await begin(transactions, stage, job)
        for _ in range(20):
            stage.clock.at += 1
            await transactions.pump()
    record = log.records[(key, 1)]
    assert 1_000_000 < record.gas <= 10_000_000
    assert record.worst_fee <= policy.per_job


async def test_raises_at_once__are_bounded_by_number_budget_and_cap(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_sendRawTransaction", Rejected(-32000, "txpool is full"))
        await begin(transactions, stage, job)
        for _ in range(25):
            stage.clock.at += 1
            await transactions.pump()
    attempts = log.records[(f"reportStarted:{job}:1", 1)].attempts
    assert 5 < len(attempts) <= 13
    assert attempts[-1].fees.max_fee <= RICH.cap_per_gas


async def test_fees__no_such_method_as_a_tip_s__is_what_a_gas_price_has_beyond_the_base_fee(
    stage: Stage, endpoints: Endpoints
) -> None:
    base = stage.node.methods._base_fee()
    with pytest.MonkeyPatch.context() as patch:
        no = Rejected(-32601, "the method eth_maxPriorityFeePerGas does not exist")
        refusing(stage, patch, "eth_maxPriorityFeePerGas", no)
        told = await asked_by(endpoints)
        assert told.base_fee is not None
        assert told.tip == base + 10**9 - told.base_fee
        refusing(stage, patch, "eth_gasPrice", no)
        assert (await asked_by(endpoints)).tip is None


async def test_chain__before_eip_1559__takes_the_old_form_and_its_price_is_counted(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        before_1559(stage.node.methods, patch)
        stage.node.evm.automine = False
        await begin(transactions, stage, job)
        first = log.records[(f"reportStarted:{job}:1", 1)].attempts[-1]
        stage.clock.at += 31
        await transactions.pump()  # raised, as any other
        stage.node.call("evm_mine")
        await transactions.pump()
        state = await begin(transactions, stage, job)
    assert isinstance(state, Confirmed)
    last = log.records[(f"reportStarted:{job}:1", 1)].attempts[-1]
    assert last.fees.max_fee > first.fees.max_fee
    assert state.fee % last.fees.max_fee == 0
    assert state.fee > 0


@pytest.mark.parametrize(
    ("base_fees", "old_form"), [((None, None), True), ((None, 1), True), ((0, 1), False)]
)
def test_old_form__one_node_says_that_there_is_no_base_fee__is_taken_by_all(
    base_fees: tuple[int | None, ...], old_form: bool
) -> None:
    """The newer form would be taken by none where the other one lies."""
    assert is_old_form(Asked(each, 1) for each in base_fees) is old_form


@pytest.mark.parametrize(
    ("no", "why"),
    [(Rejected(-32000, "sender is denied"), "sender is denied"), (None, "without a hash")],
    ids=["a refusal", "null"],
)
async def test_submit__no_node_takes_it__is_sent_again_within_seconds_and_told(
    stage: Stage, transactions: Transactions, job: JobId, no: Rejected | None, why: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_sendRawTransaction", no)
        await begin(transactions, stage, job)
        assert not transactions.held_up.lasting(stage.clock.now())
        for _ in range(4):
            stage.clock.at += 3
            await transactions.pump()
    (held,) = transactions.held_up.lasting(stage.clock.now())
    assert held.call.startswith(f"reportStarted({job}")
    assert why in held.why
    assert held.urgent
    assert held.tried_at == stage.clock.now()  # at each of these looks
    stage.clock.at += 3
    await transactions.pump()  # taken now, long before what was taken would be sent again
    assert not transactions.held_up.lasting(stage.clock.now())
    stage.node.call("evm_mine")
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)


async def test_submit__no_node_says_what_it_costs__is_told_once_that_lasts(
    stage: Stage, transactions: Transactions, job: JobId
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_estimateGas", Rejected(-32000, "state is not there"))
        for _ in range(3):
            await begin(transactions, stage, job)
            stage.clock.at += 6
        (held,) = transactions.held_up.lasting(stage.clock.now())
        assert "state is not there" in held.why
    stage.clock.at += 60
    assert not transactions.held_up.lasting(stage.clock.now())  # nobody tries it any more


NO_METHOD = [
    Rejected(-32601, "the method eth_estimateGas does not exist/is not available"),
    Rejected(-32600, "Unsupported method: eth_estimateGas"),
    Rejected(-32000, "rpc method is not whitelisted"),
]


@pytest.mark.parametrize("no", NO_METHOD, ids=lambda no: no.args[0])
async def test_submit__no_node_estimates_gas__is_sent_with_a_limit_that_none_of_ours_reaches(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId, no: Rejected
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_estimateGas", no)
        state = await begin(transactions, stage, job)
        assert isinstance(state, Pending)
        await transactions.pump()
        assert isinstance(await begin(transactions, stage, job), Confirmed)
    assert log.records[(f"reportStarted:{job}:1", 1)].gas == 1_000_000


async def test_submit__no_node_estimates_gas_and_the_job_may_spend_little__is_sent_with_less(
    stage: Stage, endpoints: Endpoints, log: MemoryLog, job: JobId
) -> None:
    fees = await market_fees(endpoints, RICH)
    assert fees is not None
    policy = replace(RICH, per_job=Wei(fees.max_fee * 500_000))
    transactions = sender(stage, endpoints, log, policy=policy)
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_estimateGas", NO_METHOD[0])
        assert isinstance(await begin(transactions, stage, job), Pending)
    assert log.records[(f"reportStarted:{job}:1", 1)].gas == 300_000


async def test_submit__no_node_estimates_gas_and_it_would_revert__is_not_sent(
    stage: Stage, transactions: Transactions, log: MemoryLog, job: JobId
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refusing(stage, patch, "eth_estimateGas", NO_METHOD[0])
        state = await transactions.submit(stage.calls.settle(JobId(job + 1)), key="none")
    assert isinstance(state, Reverted)
    assert not log.records


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("already known", True),
        ("transaction already imported", True),
        ("ALREADY_EXISTS: already known", True),
        ("Known transaction", True),
        ("tx already in mempool", True),
        ("unknown transaction type", False),
        ("nonce too low", False),
        ("sender is denied", False),
    ],
)
def test_refusal__of_what_is_in_the_pool__is_none(said: str, there: bool) -> None:
    assert are_of_what_is_there([NodeRefused(said)]) is there


@pytest.mark.parametrize("answer", ["0x", None, hex(30_000_000)])
async def test_submit__an_estimate_that_can_t_be__is_named_with_what_was_asked(
    stage: Stage, transactions: Transactions, job: JobId, answer: str | None
) -> None:
    true = stage.node.methods.call
    with pytest.MonkeyPatch.context() as patch:

        def say(asked: str, params: list[Any]) -> Any:
            return answer if asked == "eth_estimateGas" else true(asked, params)

        patch.setattr(stage.node.methods, "call", say)
        state = await begin(transactions, stage, job)
    assert isinstance(state, Waiting)
    assert f"answers eth_estimateGas with {answer!r}, which is no number" in state.message


@pytest.mark.parametrize("name", ["status", "gasUsed", "blockNumber"])
async def test_pump__a_receipt_that_lacks_a_number__is_named_once_and_ends_well(
    stage: Stage, transactions: Transactions, job: JobId, name: str
) -> None:
    await begin(transactions, stage, job)
    true = stage.node.methods.call

    def call(asked: str, params: list[Any]) -> Any:
        found = true(asked, params)
        return {**found, name: "soon"} if asked == "eth_getTransactionReceipt" else found

    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        patch.setattr(stage.node.methods, "call", call)
        for _ in range(5):
            await transactions.pump()
    (said,) = [one for one in logs if one["event"] == "tx.not_told" and one["log_level"] != "debug"]
    assert f"a receipt whose {name} is 'soon'" in said["error"]
    await transactions.pump()
    assert isinstance(await begin(transactions, stage, job), Confirmed)
