"""The same promises on anvil, another EVM, node and mempool. Skipped where it is absent."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.chain.endpoints import Endpoints
from agent.chain.events import EventReader
from agent.chain.fees import FeePolicy
from agent.chain.head import Finality, HeadFollower, HeadTracker, Pace
from agent.chain.transactions import Call, Confirmed, Patience, Pending, Transactions
from agent.chain.wallet import LocalSigner
from agent.clock import SystemClock
from agent.market.model import Address, JobId, JobStatus, Price, Wei
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market, changed_jobs, job_topics
from agent.markets.token import token_abi
from contracts.deploy import Params, deploy
from tests.agent.chain.memory_log import MemoryLog

ROOT = Path(__file__).parents[3]
PLACES = os.pathsep.join([os.environ["PATH"], str(ROOT / ".ci/anvil/node_modules/.bin")])
ANVIL = shutil.which("anvil", path=PLACES)
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TYPE = "us-east-1/c6a.xlarge"
FINALITY = 8

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(ANVIL is None, reason="anvil is not installed"),
]


@dataclass
class Clock(SystemClock):
    """Real time, and what a test adds to it instead of waiting."""

    ahead: float = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass
class Anvil:
    """One node with a market on it; the provider is its own user, which the protocol allows."""

    url: str
    calls: Calls

    def rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(self.url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]


@pytest.fixture(scope="module")
def process() -> Iterator[str]:
    command = [str(ANVIL), "--port", "0", "--slots-in-an-epoch", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        port = next(found[1] for line in lines if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
        drain = threading.Thread(target=list, args=(lines,))  # or its pipe fills up and it hangs
        drain.start()
        yield f"http://127.0.0.1:{port}"
        running.terminate()
        drain.join()


@pytest.fixture(scope="module")
def anvil(process: str) -> Anvil:
    account = Account.from_key(KEY)
    auditor = Account.from_key("0x" + "11" * 32).address
    made = deploy(Web3(HTTPProvider(process)), account, Params(10**18, 300, 600, 120, 1), [auditor])
    calls = Calls(Address(made.registry))
    asyncio.run(_prepare(process, calls, Address(made.pond), Address(made.payment_token)))
    return Anvil(process, calls)


async def _prepare(url: str, calls: Calls, *tokens: Address) -> None:
    endpoints = await Endpoints.open([url], Clock())
    sending = transactions(endpoints, MemoryLog())
    mint = token_abi().encode("mint", Account.from_key(KEY).address, 10**24)
    setup = [
        call for t in tokens for call in (Call(t, mint, "mint"), calls.approve(t, Wei(10**24)))
    ]
    setup += [calls.stake(Wei(100 * 10**18)), calls.register(TYPE, Price(10**12))]
    for number, call in enumerate(setup):
        await settle(sending, call, f"setup:{number}")
    await endpoints.close()


def transactions(endpoints: Endpoints, log: MemoryLog, clock: Clock | None = None) -> Transactions:
    return Transactions(
        endpoints, LocalSigner(bytes.fromhex(KEY)), log, clock or Clock(),
        policy=FeePolicy(per_job=Wei(10**18), per_day=Wei(10**19)), finality=Finality(FINALITY),
        patience=Patience(replace=30, rebroadcast=15, retry=1, fees_age=0.0),
    )  # fmt: skip


async def settle(sending: Transactions, call: Call, key: str) -> Confirmed:
    """Submit and pump until it is in a block."""
    async with asyncio.timeout(20):
        while not isinstance(state := await sending.submit(call, key=key), Confirmed):
            assert isinstance(state, Pending), state
            await sending.pump()
            await asyncio.sleep(0.01)
    return state


@pytest_asyncio.fixture
async def endpoints(anvil: Anvil) -> AsyncIterator[Endpoints]:
    opened = await Endpoints.open([anvil.url], Clock())
    yield opened
    await opened.close()


@pytest.fixture
def market(anvil: Anvil, endpoints: Endpoints) -> Market:
    return Market(endpoints, anvil.calls.registry)


async def request(sending: Transactions, anvil: Anvil, market: Market, name: str) -> JobId:
    call = anvil.calls.request_job(TYPE, Price(10**15), "ipfs://image", Wei(1000))
    await settle(sending, call, f"request:{name}")
    head = await HeadTracker(sending._endpoints, Finality(0)).poll()
    return JobId(await market.job_count(head.block))


@pytest.mark.parametrize("depth", [1, 3, FINALITY])
async def test_fork__any_depth_to_finality__jobs_and_transactions_come_right(
    anvil: Anvil, endpoints: Endpoints, market: Market, depth: int
) -> None:
    clock = Clock()
    sending = transactions(endpoints, MemoryLog(), clock)
    tracker = HeadTracker(endpoints, Finality(FINALITY))
    jobs_in = partial(changed_jobs, provider=Address(Account.from_key(KEY).address))
    events = EventReader(endpoints, anvil.calls.registry, job_topics(), jobs_in)
    anvil.rpc("anvil_mine", hex(FINALITY + 1))
    job = await request(sending, anvil, market, "job")
    cursor = (await events.changes(None, await tracker.poll())).cursor
    started = anvil.calls.report_started(job, "a:1")
    await settle(sending, started, "start")
    anvil.rpc("anvil_mine", hex(depth - 1))
    changes = await events.changes(cursor, await tracker.poll())
    assert changes.jobs == {job}
    anvil.rpc("anvil_reorg", depth, [])
    anvil.rpc("anvil_mine", "0x1")
    after = await events.changes(changes.cursor, await tracker.poll())
    assert job in after.jobs
    assert not after.resync
    await sending.pump()
    clock.ahead += 16
    await settle(sending, started, "start")
    head = await tracker.poll()
    assert (await market.jobs([job], head.block))[job].status is JobStatus.RUNNING


async def test_stuck__on_a_node_that_does_not_mine__is_replaced_in_its_pool(
    anvil: Anvil, endpoints: Endpoints, market: Market
) -> None:
    log, clock = MemoryLog(), Clock()
    sending = transactions(endpoints, log, clock)
    anvil.rpc("evm_setAutomine", False)
    try:
        call = anvil.calls.stake(Wei(1))
        assert isinstance(await sending.submit(call, key="s"), Pending)
        for _ in range(2):
            clock.ahead += 31
            await sending.pump()
        (record,) = log.records.values()
        assert len(record.attempts) == 3
        pooled = anvil.rpc("eth_getTransactionByHash", record.attempts[-1].hash)
        assert pooled["blockNumber"] is None
        anvil.rpc("evm_mine")
        state = await settle(sending, call, "s")
        assert state.tx_hash == record.attempts[-1].hash
    finally:
        anvil.rpc("evm_setAutomine", True)


async def test_heads__real_subscription__wakes_at_once(anvil: Anvil, endpoints: Endpoints) -> None:
    tracker = HeadTracker(endpoints, Finality())
    socket = anvil.url.replace("http://", "ws://")
    follower = HeadFollower(tracker, Clock(), Pace(poll=0.1, silent=20.0), [socket])
    heads = follower.heads()
    seen = await anext(heads)
    while follower.live is None:  # the first notification comes with the first block after it
        anvil.rpc("evm_mine")
        seen = await anext(heads)
    anvil.rpc("evm_mine")
    async with asyncio.timeout(5):  # the next poll would be due after 20 s
        assert (await anext(heads)).block.number > seen.block.number
    await heads.aclose()


async def test_market__on_another_evm__reads_the_same(
    anvil: Anvil, endpoints: Endpoints, market: Market
) -> None:
    head = await HeadTracker(endpoints, Finality()).poll()
    assert (await market.params(head.block)).stake_per_job == 10**18
    assert [offer.price for offer in await market.offers(TYPE, head.block)] == [Price(10**12)]
    assert await market.jobs([JobId(10**6)], head.block) == {}
