"""The head: polled, woken by a subscription, and what is final never goes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent.chain.endpoints import Endpoints
from agent.chain.head import (
    MAX_MESSAGE_BYTES,
    Finality,
    Head,
    HeadFollower,
    HeadTracker,
    Pace,
    block_ref,
)
from agent.chain.rpc import NodeRefused
from agent.clock import SystemClock
from devnet.chain.evm import Rejected
from faults import UsageFault

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was logged or printed until it is called."""
    caplog.set_level("DEBUG")
    caplog.set_level("WARNING", "websockets.server")  # the other side, in this process
    return lambda: "".join([caplog.text, *capsys.readouterr()])


async def test_poll__by_depth__is_that_far_below_and_at_least_genesis(
    stage: Stage, endpoints: Endpoints
) -> None:
    head = await HeadTracker(endpoints, Finality(3)).poll()
    assert head.block == stage.head
    assert head.finalized.number == stage.head.number - 3
    assert (await HeadTracker(endpoints, Finality(0)).poll()).finalized == stage.head
    assert (await HeadTracker(endpoints, Finality(10**6)).poll()).finalized.number == 0


async def test_poll__by_tag__takes_the_nodes_word(stage: Stage, endpoints: Endpoints) -> None:
    head = await HeadTracker(endpoints, Finality()).poll()
    assert head.finalized.number == stage.head.number - stage.node.methods.finality_blocks


async def test_poll__node_falls_back__finalized_does_not(
    stage: Stage, tracker: HeadTracker
) -> None:
    stage.node.call("evm_mine", 5)
    before = await tracker.poll()
    stage.node.faults.lag = 4
    after = await tracker.poll()
    assert after.block.number == before.block.number - 4
    assert after.finalized == before.finalized


async def test_poll__node_tells_no_block__is_refused(stage: Stage, tracker: HeadTracker) -> None:
    stage.node.faults.fail_methods = ["eth_getBlockByNumber"]
    with pytest.raises(NodeRefused):
        await tracker.poll()


@pytest.mark.parametrize(
    "finality",
    [Rejected(-32000, "finalized block not found"), Rejected(-39001, "Unknown block"),
     Rejected(-32602, "invalid argument 0: hex string without 0x prefix"), None],
    ids=str,
)  # fmt: skip
async def test_poll__final_block_is_told_no_more__heads_go_on_and_it_stays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints,
    finality: Rejected | None, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tracker, true = HeadTracker(endpoints, Finality()), stage.node.methods.call

    def call(method: str, params: list[Any]) -> Any:
        if params and params[0] == "finalized":
            if finality is not None:
                raise finality
            return None
        return true(method, params)

    before = await tracker.poll()
    monkeypatch.setattr(stage.node.methods, "call", call)
    for _ in range(3):
        stage.node.call("evm_mine", 5)
        head = await tracker.poll()
        assert (head.block, head.finalized) == (stage.head, before.finalized)
    assert capsys.readouterr().out.count("chain.no_final_block") == 1
    with pytest.raises(NodeRefused):
        await HeadTracker(endpoints, Finality()).poll()  # at a start it has to be known
    monkeypatch.undo()
    assert (await tracker.poll()).finalized.number == stage.head.number - 2


async def test_poll__one_of_two_tells_no_final_block__the_other_s_word_counts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.node.twin() as unable:
        true = unable.methods.call
        monkeypatch.setattr(
            unable.methods, "call",
            lambda method, params: None if "finalized" in params else true(method, params),
        )  # fmt: skip
        endpoints = await Endpoints.open([unable.url, stage.node.url], stage.clock)
        tracker = HeadTracker(endpoints, Finality())
        for _ in range(2):
            stage.node.call("evm_mine", 5)
            assert (await tracker.poll()).finalized.number == stage.head.number - 2
        await endpoints.close()


@pytest.mark.parametrize(
    ("given", "number"),
    [("0x10", 16), ("0x0010", 16), ("0XA", 10), (16, 16), ("16", None), ("", None), (None, None),
     (True, None), ("0x", None), (1.0, None), ("-0x1", None)],
)  # fmt: skip
def test_block_ref__a_number_however_it_is_written__is_it_or_refused(
    given: object, number: int | None
) -> None:
    block = {"number": given, "timestamp": "0x5", "hash": "0xAB"}
    if number is None:
        with pytest.raises(NodeRefused):
            block_ref(block)
    else:
        assert block_ref(block, number).number == number
    with pytest.raises(NodeRefused):
        block_ref({"number": "0x1", "timestamp": "0x5", "hash": given if given is None else 7})


def test_block_ref__its_time_is_in_milliseconds__is_said_so() -> None:
    """Some sidechains' gateways have it so; its number is well."""
    block = {"number": "0x1", "timestamp": hex(1_800_000_000_000), "hash": "0xAB"}
    with pytest.raises(NodeRefused, match=r"of the time 1\.8e\+12, which is none in seconds"):
        block_ref(block)


def test_finality__negative__is_a_usage_fault() -> None:
    with pytest.raises(UsageFault):
        Finality(-1)


async def test_heads__polling__gives_each_new_head_once_and_survives_an_outage(
    stage: Stage, tracker: HeadTracker
) -> None:
    heads = HeadFollower(tracker, stage.clock, Pace(poll=1.0)).heads()
    first = await anext(heads)
    stage.node.faults.refuse = True
    following = asyncio.ensure_future(anext(heads))
    while len(stage.clock.slept) < 5:
        await asyncio.sleep(0)
    assert not following.done()
    assert stage.clock.slept[:4] == [1.0, 1.0, 2.0, 4.0]
    stage.node.faults.refuse = False
    stage.node.call("evm_mine")
    second: Head = await following
    assert second.block.number == first.block.number + 1
    await heads.aclose()


@asynccontextmanager
async def subscription(lines: asyncio.Queue[str]) -> AsyncIterator[str]:
    """A WebSocket that takes eth_subscribe and then says what the test puts in the queue."""

    async def handler(socket: ServerConnection) -> None:
        asked = json.loads(await socket.recv())
        assert asked["method"] == "eth_subscribe"
        await socket.send(json.dumps({"id": 1, "result": "0x1"}))
        feeding = asyncio.create_task(feed(socket))
        await socket.wait_closed()
        feeding.cancel()

    async def feed(socket: ServerConnection) -> None:
        while True:
            await socket.send(await lines.get())

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/key-of-nobody"
        server.close(close_connections=True)


NEWS = json.dumps({"method": "eth_subscription", "params": {"result": {"number": "0x1"}}})


async def test_subscription__large_or_packed_messages__are_not_taken(
    tracker: HeadTracker, said: Callable[[], str]
) -> None:
    heads: list[str] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        heads.append(socket.request.headers.get("Sec-WebSocket-Extensions", ""))
        await socket.recv()
        await socket.send(NEWS[:-1] + " " * MAX_MESSAGE_BYTES + "}")
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        urls = [f"ws://127.0.0.1:{port}/key-of-nobody"]
        follower = HeadFollower(tracker, SystemClock(), Pace(0.05, 5.0), urls)
        following = follower.heads()
        await anext(following)
        async with asyncio.timeout(10):
            while "chain.subscription_lost" not in (text := said()):
                await asyncio.sleep(0.02)
        assert follower.live is None
        assert "ConnectionClosed" in text
        await following.aclose()
        server.close(close_connections=True)
    assert heads == [""]


async def test_heads__subscribed__are_seen_long_before_the_next_poll(
    stage: Stage, tracker: HeadTracker
) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with subscription(lines) as url:
        follower = HeadFollower(tracker, SystemClock(), Pace(poll=30.0, silent=20.0), [url])
        heads = follower.heads()
        await anext(heads)
        stage.node.call("evm_mine")
        lines.put_nowait(NEWS)
        async with asyncio.timeout(5):
            assert (await anext(heads)).block == stage.head
        assert follower.live is not None
        assert "key-of-nobody" not in repr(follower.live)
        await heads.aclose()


async def test_heads__subscription_that_floods__has_the_node_asked_ten_times_a_second_at_most(
    stage: Stage, tracker: HeadTracker
) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with subscription(lines) as url:
        follower = HeadFollower(tracker, SystemClock(), Pace(poll=30.0, silent=20.0), [url])
        heads = follower.heads()
        await anext(heads)
        lines.put_nowait(NEWS)
        while follower.live is None:
            await asyncio.sleep(0.01)
        before, begun = stage.node.requests, time.monotonic()
        following = asyncio.ensure_future(anext(heads))
        for _ in range(300):
            lines.put_nowait(NEWS)
            await asyncio.sleep(0.001)
        looks = 10 * (time.monotonic() - begun) + 2  # a busy machine gives it more time
        assert stage.node.requests - before <= 2 * looks
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await heads.aclose()


async def test_heads__subscription_falls_silent__is_dropped_and_polling_takes_over(
    stage: Stage,
    tracker: HeadTracker,
    said: Callable[[], str],
) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with subscription(lines) as url:
        follower = HeadFollower(tracker, SystemClock(), Pace(poll=0.05, silent=0.3), [url])
        heads = follower.heads()
        await anext(heads)
        lines.put_nowait(NEWS)
        stage.node.call("evm_mine")
        await anext(heads)
        stage.node.call("evm_mine", 2)  # and the subscription says nothing of it
        async with asyncio.timeout(5):
            assert (await anext(heads)).block == stage.head
            while follower.live is not None:
                await asyncio.sleep(0.02)
        stage.node.call("evm_mine")
        async with asyncio.timeout(5):
            assert (await anext(heads)).block == stage.head
        await heads.aclose()
    told = said()
    assert "chain.subscription_silent" in told
    assert "key-of-nobody" not in told


async def test_heads__no_such_websocket__polls_all_the_same_and_shows_no_key(
    stage: Stage,
    tracker: HeadTracker,
    said: Callable[[], str],
) -> None:
    pace = replace(Pace(), poll=0.05)
    heads = HeadFollower(tracker, SystemClock(), pace, ["ws://127.0.0.1:9/key-of-nobody"]).heads()
    await anext(heads)
    stage.node.call("evm_mine")
    async with asyncio.timeout(5):
        assert (await anext(heads)).block == stage.head
    await heads.aclose()
    told = said()
    assert "chain.subscription_lost" in told
    assert "key-of-nobody" not in told
