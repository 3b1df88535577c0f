"""Whatever JSON a node answers, it is at worst unusable: every reader of the chain, fuzzed.

True answers of a real EVM are changed by a grammar (`tests.fuzz.odd_json`). Each reader either
gives values that the rest of the program can compute with, store and show, or raises a fault that
names what to do; never anything else, and never one that stops the agent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.chain.answers import SAID_MOST, Error, of_batch, of_one, parsed, said, said_in
from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader, Mark
from agent.chain.fees import FeePolicy, market_fees
from agent.chain.head import Finality, Head, HeadTracker
from agent.chain.http import Http
from agent.chain.rpc import EndpointDown, NodeRefused
from agent.chain.transactions import Transactions
from agent.history.slashes import Slashes
from agent.journal.lines import Event
from agent.market.model import Wei
from agent.markets.registry.reads import Market, job_topics
from agent.secret import SecretUrl
from tests.agent.chain.memory_log import MemoryLog
from tests.agent.chain.odd_node import Said, odd_node
from tests.clocks import MovingClock
from tests.fuzz.budget import examples
from tests.fuzz.liar import MANY, NODE_S, Liar, usable, worded
from tests.fuzz.odd_json import ANY, as_sent, odd

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

Json = Any


@dataclass
class Scene:
    """One agent's readers, at a node that lies from now on."""

    stage: Stage
    endpoints: Endpoints
    head: Head

    @property
    def market(self) -> Market:
        return Market(self.endpoints, self.stage.registry)


async def _poll(scene: Scene) -> Json:
    for depth in (None, 0, 2):
        head = await HeadTracker(scene.endpoints, Finality(depth)).poll()
        usable(asdict(head))


async def _logs(scene: Scene) -> Json:
    told: list[Event] = []
    slashes = Slashes(scene.stage.provider, scene.stage.clock, told.append)
    reader = EventReader(scene.endpoints, scene.stage.registry, job_topics(), slashes.jobs_in, 4)
    start = Cursor((Mark(1, "0x1"), Mark(2, scene.head.finalized.hash)))
    changes = await reader.changes(start, scene.head)
    usable([sorted(changes.jobs), changes.cursor.to_json(), changes.as_of])
    usable([asdict(event) for event in told])
    assert all(job < 2**63 for job in changes.jobs)


async def _jobs(scene: Scene) -> Json:
    jobs = await scene.market.jobs([1, 2, 3], scene.head.block)  # type: ignore[list-item]  # plain ids
    usable([asdict(job) for job in jobs.values()])
    usable(await scene.market.jobs_of(scene.stage.provider, scene.head.block))


async def _terms(scene: Scene) -> Json:
    at, market = scene.head.block, scene.market
    usable(asdict(await market.params(at)))
    usable(asdict(await market.stake_of(scene.stage.provider, at)))
    usable([asdict(one) for one in await market.offers("us-east-1/c6a.xlarge", at)])
    await market.offer(scene.stage.provider, "us-east-1/c6a.xlarge", at)
    usable([asdict(one) for one in await market.tokens(at)])
    usable(await market.balance(scene.stage.pond, scene.stage.provider, at))


async def _fees(scene: Scene) -> Json:
    fees = await market_fees(scene.endpoints, FeePolicy())
    assert fees is None or 0 < fees.tip <= fees.max_fee <= FeePolicy().cap_per_gas


async def _send(scene: Scene) -> Json:
    log, clock = MemoryLog(), scene.stage.clock
    policy = FeePolicy(per_job=Wei(10**18), per_day=Wei(10**19))
    sending = Transactions(
        scene.endpoints, scene.stage.signers[0], log, clock, policy=policy, finality=Finality(2)
    )
    before = clock.at
    for number in range(3):
        await sending.submit(scene.stage.calls.stake(Wei(1)), key=f"k{number % 2}")
        await sending.pump()
        clock.at += 16
    clock.at = before
    for record in log.records.values():
        worst = record.gas * max(each.fees.max_fee for each in record.attempts)
        assert 0 <= record.worst_fee <= worst
        assert 0 <= record.nonce < 2**63
        usable([record.reason, record.block, record.tx_hash, record.gas])


READERS: list[Callable[[Scene], Awaitable[Json]]] = [_poll, _logs, _jobs, _terms, _fees, _send]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__.strip("_"))
def test_reader__any_json_from_its_node__gives_usable_values_or_a_fault(
    stage: Stage, reader: Callable[[Scene], Awaitable[Json]], quiet: None
) -> None:
    stage.offer()
    stage.request()
    snapshot = stage.node.call("evm_snapshot")

    async def once(data: st.DataObject) -> None:
        liar = Liar(stage.node)
        endpoints = await Endpoints.over([liar], stage.clock)
        head = await HeadTracker(endpoints, Finality(2)).poll()
        liar.data = data
        await worded(reader(Scene(stage, endpoints, head)), NODE_S)
        liar.data = None
        stage.clock.at += 400
        await HeadTracker(endpoints, Finality(2)).poll()  # well again: the same agent goes on
        await endpoints.close()

    @MANY
    @given(st.data())
    def run(data: st.DataObject) -> None:
        asyncio.run(once(data))
        nonlocal snapshot
        stage.node.call("evm_revert", snapshot)
        snapshot = stage.node.call("evm_snapshot")

    run()


@settings(max_examples=examples(300), deadline=None)
@given(ANY | odd({"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "no"}}))
def test_answers__any_json__are_results_errors_or_nothing(answer: Json) -> None:
    answer = as_sent(answer)
    one = of_one(answer)
    if isinstance(one, Error):
        assert one.message.isprintable()
        assert len(one.message) <= SAID_MOST
        assert isinstance(one.code, int)
    for count in (1, 2, 100):
        assert len(of_batch(answer, count)) == count
    assert said(answer).isprintable()


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=400) | ANY.map(lambda value: json.dumps(value).encode()))
def test_parsed__any_bytes__are_what_json_says_or_none(body: bytes) -> None:
    try:
        wanted = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        wanted = None
    assert json.dumps(parsed(body)) == json.dumps(wanted)
    assert said_in(body, None).isprintable()


HEADERS = st.sampled_from(
    ["Content-Encoding", "Retry-After", "Location", "Date", "Transfer-Encoding", "Connection",
     "Content-Length", "Set-Cookie", "X-RateLimit-Reset"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["gzip", "identity", "chunked", "close", "0", "-1", "99999999999", "soon", "/x", "https://x/",
     "//", "http://[", "Thu, 99 Foo 2026", "\xff", "a" * 3000]
)  # fmt: skip


@settings(max_examples=examples(60), deadline=None)
@given(
    status=st.sampled_from(
        [100, 101, 199, 200, 204, 206, 301, 304, 308, 400, 404, 418, 429, 500, 599]
    ),
    headers=st.dictionaries(HEADERS, VALUES, max_size=2),
    body=st.binary(max_size=60) | ANY.map(lambda value: json.dumps(value).encode()),
    cut=st.none() | st.integers(0, 200),
)
def test_http__any_bytes_from_a_node__are_an_answer_or_its_fault(
    status: int, headers: dict[str, str], body: bytes, cut: int | None
) -> None:
    head = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    raw = "\r\n".join([*head, "", ""]).encode("latin-1") + body
    answer = Said(body, status, {}) if cut is None and not headers else raw[:cut]

    async def run() -> None:
        async with odd_node(lambda _: answer) as node:
            http = Http(SecretUrl(node.url), timeout_seconds=1)
            asked = http.exchange({"method": "eth_chainId", "params": [], "id": 0})
            await worded(asked, (EndpointDown, NodeRefused))
            await http.close()

    asyncio.run(run())


def test_liar__that_tells_the_truth__is_read_by_all(stage: Stage, quiet: None) -> None:
    stage.offer()
    stage.request()

    async def all_of_them() -> None:
        endpoints = await Endpoints.over([Liar(stage.node)], stage.clock)
        head = await HeadTracker(endpoints, Finality(2)).poll()
        for reader in READERS:
            await reader(Scene(stage, endpoints, head))
        await endpoints.close()

    asyncio.run(all_of_them())
    assert isinstance(stage.clock, MovingClock)
