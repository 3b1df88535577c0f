"""Transactions of our key that we did not send are noticed, and ours never are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.other_senders import OtherSenders
from agent.chain.transactions import Pending, Transactions
from agent.market.model import Wei
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.test_transactions import sender

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def transactions(stage: Stage, endpoints: Endpoints, log: MemoryLog) -> Transactions:
    return sender(stage, endpoints, log)


async def sent_by_us(stage: Stage, transactions: Transactions, key: str) -> None:
    state = await transactions.submit(stage.calls.stake(Wei(1)), key=key)
    assert isinstance(state, Pending)
    await transactions.pump()


def sent_by_another(stage: Stage) -> None:
    stage.send(0, stage.calls.stake(Wei(1)))  # the same key, elsewhere


async def noticed(others: OtherSenders) -> bool:
    others.noticed_at = None
    await others.look()
    return others.noticed_at is not None


async def test_look__another_program_sent_with_our_key__is_noticed_once(
    stage: Stage, transactions: Transactions
) -> None:
    others = transactions.others
    sent_by_another(stage)
    assert not await noticed(others), "what was there before is nobody's business"
    await sent_by_us(stage, transactions, "one")
    assert not await noticed(others)
    sent_by_another(stage)
    await sent_by_us(stage, transactions, "two")
    assert await noticed(others)
    assert others.noticed_at == stage.clock.now()
    assert not await noticed(others)


async def test_look__one_node_counts_what_nobody_sent__asks_the_journal_for_no_more_than_can_be(
    stage: Stage, transactions: Transactions
) -> None:
    others = transactions.others
    assert not await noticed(others)
    with pytest.MonkeyPatch.context() as patch:
        true = stage.node.methods.call
        patch.setattr(
            stage.node.methods, "call",
            lambda asked, params: hex(2**60) if asked == "eth_getTransactionCount"
            else true(asked, params),
        )  # fmt: skip
        assert not await noticed(others)
    assert not await noticed(others)
    sent_by_another(stage)
    assert await noticed(others), "its lie is forgotten with the next look"
