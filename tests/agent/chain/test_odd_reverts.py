"""A revert in answer to what never reverts: a node's trouble, and another node's to answer.

A refusal ends whoever does not expect it, the agent included, and no service manager starts it
again: so none may come of what a node says where no contract is asked, or none that says no.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.events import EventReader
from agent.chain.fees import asked_by
from agent.chain.head import Finality, HeadTracker
from agent.market.model import JobId
from agent.markets.registry.reads import Market, changed_jobs, job_topics
from devnet.chain.evm import Rejected
from devnet.chain.node import ChainServer
from faults import RetryLater, TryElsewhere
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.test_transactions import sender

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

Json = Any
METHODS = (
    "eth_chainId", "eth_getBlockByNumber", "eth_call", "eth_getLogs", "eth_getTransactionCount",
    "eth_getBalance", "eth_maxPriorityFeePerGas", "eth_gasPrice", "eth_sendRawTransaction",
    "eth_getTransactionReceipt",
)  # fmt: skip


def reverting(node: ChainServer, patch: pytest.MonkeyPatch, method: str) -> None:
    true = node.methods.call

    def call(asked: str, params: list[Json]) -> Json:
        if asked == method:
            raise Rejected(3, "execution reverted", "0x")
        return true(asked, params)

    patch.setattr(node.methods, "call", call)


async def _polls(stage: Stage, endpoints: Endpoints) -> None:
    for finality in (Finality(), Finality(2)):
        await HeadTracker(endpoints, finality).poll()


async def _reads(stage: Stage, endpoints: Endpoints) -> None:
    market = Market(endpoints, stage.registry)
    await market.params(stage.head)
    await market.listing(stage.provider, stage.head)
    await market.holdings(stage.provider, stage.head)


async def _hears(stage: Stage, endpoints: Endpoints) -> None:
    reader = EventReader(endpoints, stage.registry, job_topics(), changed_jobs)
    tracker = HeadTracker(endpoints, Finality(2))
    start = await reader.changes(None, await tracker.poll())
    stage.node.call("evm_mine")
    await reader.changes(start.cursor, await tracker.poll())


async def _sends(stage: Stage, endpoints: Endpoints) -> None:
    transactions = sender(stage, endpoints, MemoryLog())
    await transactions.submit(stage.calls.request_exit(JobId(1)), key="reverts")
    await transactions.pump()
    await asked_by(endpoints)


READERS: list[Callable[[Stage, Endpoints], Awaitable[None]]] = [_polls, _reads, _hears, _sends]


@pytest.mark.parametrize("method", METHODS)
async def test_revert__of_what_never_reverts__is_asked_of_the_next_node(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    with stage.node.twin() as odd:
        endpoints = await Endpoints.open([odd.url, stage.node.url], stage.clock)
        reverting(odd, monkeypatch, method)
        for reader in READERS:
            await reader(stage, endpoints)
        await endpoints.close()
        reopened = await Endpoints.open([odd.url, stage.node.url], stage.clock)
        await _polls(stage, reopened)
        await reopened.close()


@pytest.mark.parametrize("method", METHODS)
async def test_revert__by_the_only_node__is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    with stage.node.twin() as only:
        endpoints = await Endpoints.open([only.url], stage.clock)
        reverting(only, monkeypatch, method)
        for reader in READERS:
            with contextlib.suppress(RetryLater, TryElsewhere):
                await reader(stage, endpoints)
        await endpoints.close()


async def test_job__that_one_of_two_denies__is_read_from_the_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.offer()
    job, none = stage.request(), JobId(99)
    with stage.node.twin() as odd:
        endpoints = await Endpoints.open([odd.url, stage.node.url], stage.clock)
        market = Market(endpoints, stage.registry)
        reverting(odd, monkeypatch, "eth_call")
        assert set(await market.jobs([job, none], stage.head)) == {job}
        stage.node.faults.hang = 30.0
        monkeypatch.setattr("agent.chain.endpoints.SECOND_SECONDS", 0.1)
        assert await market.jobs([job, none], stage.head) == {}  # nobody waits for who hangs
        stage.node.faults.hang = 0.0
        stage.node.faults.refuse = True
        assert await market.jobs([job, none], stage.head) == {}
        await endpoints.close()
