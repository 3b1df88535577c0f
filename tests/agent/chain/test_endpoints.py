"""Failover, chain ids, lag, a second opinion; and that no URL secret is ever shown."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import structlog

from agent.chain.answers import revert_reason
from agent.chain.endpoint_ranks import DOUBT_SECONDS
from agent.chain.endpoints import Endpoints, NoEndpoint
from agent.chain.head import OLD_SECONDS
from agent.chain.rpc import CallReverted, NodeRefused, Request, Rpc
from agent.market.model import BlockNumber, BlockRef, JobId
from agent.secret import SecretUrl
from devnet.chain.evm import Rejected
from devnet.chain.node import ChainServer
from faults import Fault, MustStop, UsageFault

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

SECRET = "s3cr3t-k3y-0123456789abcdef"
HEIGHT = Request("eth_blockNumber")


@pytest.fixture
def second(stage: Stage) -> Iterator[ChainServer]:
    with stage.node.twin() as node:
        yield node


@pytest_asyncio.fixture
async def two(stage: Stage, second: ChainServer) -> AsyncIterator[Endpoints]:
    urls = [stage.node.url, second.url]
    opened = await Endpoints.open(urls, stage.clock, max_lag_seconds=2, timeout_seconds=1.0)
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    "fault",
    [{"refuse": True}, {"hang": 30.0}, {"status": 503}, {"status": 429}, {"status": 401},
     {"fail_methods": ["eth_blockNumber"]}],
    ids=str,
)  # fmt: skip
async def test_call__first_endpoint_fails__second_answers(
    stage: Stage, second: ChainServer, two: Endpoints, fault: dict[str, object]
) -> None:
    stage.node.faults.set(fault)
    assert int(await two.call("eth_blockNumber"), 16) == stage.head.number
    assert await two.batch([HEIGHT, HEIGHT]) == [hex(stage.head.number)] * 2


async def test_call__failed_endpoint__rests_then_is_asked_again(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    stage.node.faults.refuse = True
    await two.call("eth_blockNumber")
    stage.node.faults.refuse = False
    asked = stage.node.requests
    await two.call("eth_blockNumber")
    assert stage.node.requests == asked
    assert [health.usable for health in two.health()] == [False, True]
    stage.clock.at += 3
    await two.call("eth_blockNumber")
    assert stage.node.requests == asked + 2  # its chain id, then the call
    assert [health.usable for health in two.health()] == [True, True]


async def test_call__all_down__is_retry_later_and_recovers(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    stage.node.faults.refuse = second.faults.refuse = True
    for _ in range(3):
        with pytest.raises(NoEndpoint):
            await two.call("eth_blockNumber")
    stage.node.faults.refuse = second.faults.refuse = False
    assert await two.call("eth_blockNumber")


async def test_call__revert__is_not_asked_elsewhere(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    asked = second.requests
    data = "0x" + stage.calls.settle(JobId(1)).data.hex()  # no such job
    with pytest.raises(CallReverted) as no:
        await two.call("eth_call", {"to": stage.registry, "data": data}, "latest")
    assert no.value.reason
    assert second.requests == asked


async def test_open__two_chains__must_stop(stage: Stage, second: ChainServer) -> None:
    second.faults.chain_id = 1
    with pytest.raises(MustStop, match="31337"):
        await Endpoints.open([stage.node.url, second.url], stage.clock)
    with pytest.raises(MustStop, match="expected 10"):
        await Endpoints.open([stage.node.url], stage.clock, chain_id=10)


async def test_open__one_of_two_down__starts_and_checks_the_other_later(
    stage: Stage, second: ChainServer
) -> None:
    second.faults.set({"refuse": True, "chain_id": 1})
    opened = await Endpoints.open([second.url, stage.node.url], stage.clock)
    second.faults.refuse = False
    stage.clock.at += 10
    asked = second.requests
    assert await opened.call("eth_chainId") == hex(31337)
    assert second.requests == asked + 1  # only its chain id
    await opened.close()
    stage.node.faults.refuse = True
    with pytest.raises(NoEndpoint):
        await Endpoints.open([stage.node.url], stage.clock)


async def test_probe__lagging_first__second_is_preferred_until_it_catches_up(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    stage.node.call("evm_mine", 5)
    stage.node.faults.lag = 3
    stage.clock.at += OLD_SECONDS + 60  # a block that is young lags behind nobody
    await two.probe()
    assert [health.lag_blocks for health in two.health()] == [3, 0]
    assert int(await two.call("eth_blockNumber"), 16) == stage.head.number
    stage.node.faults.lag = 2
    await two.probe()
    assert int(await two.call("eth_blockNumber"), 16) == stage.head.number - 2


@pytest.mark.parametrize(("seconds", "blocks", "asked_first"), [(61, 5, 1), (60, 240, 0)])
async def test_lag__counts_in_time__whatever_the_chains_blocks_take(
    stage: Stage, second: ChainServer, seconds: int, blocks: int, asked_first: int
) -> None:
    """Five blocks of 12 s are as far behind as 240 of 0.25 s."""
    urls = [stage.node.url, second.url]
    opened = await Endpoints.open(urls, stage.clock, max_lag_seconds=60.0)
    now, (first, other) = int(stage.clock.now()), opened._nodes
    newest = BlockRef(BlockNumber(1_000), "0x1", now)
    other.tip = newest
    first.tip = replace(newest, number=BlockNumber(1_000 - blocks), timestamp=now - seconds)
    assert opened._ranks.line()[0] is (first, other)[asked_first]
    assert [health.lag_blocks for health in opened.health()] == [blocks, 0]
    await opened.close()


async def test_probe__a_while_after_the_last__happens_beside_the_next_request(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    stage.node.call("evm_mine", 5)
    stage.node.faults.lag = 3
    await two.call("eth_chainId")
    assert [health.lag_blocks for health in two.health()] == [None, None]
    stage.clock.at += OLD_SECONDS + 60
    second.faults.hang = 0.2  # nobody waits for it
    await two.call("eth_chainId")
    assert two._probe is not None
    await two._probe
    assert [health.lag_blocks for health in two.health()] == [3, 0]


async def test_voices__of_two__are_both_asked_and_the_silent_one_is_left_out(
    stage: Stage, second: ChainServer, two: Endpoints, endpoints: Endpoints
) -> None:
    stage.node.call("evm_mine", 3)
    second.faults.lag = 1

    async def height(rpc: Rpc) -> int:
        return int(await rpc.call("eth_blockNumber"), 16)

    high = stage.head.number
    assert await two.voices(height) == [high, high - 1]
    second.faults.refuse = True
    assert await two.voices(height) == [high]
    assert await endpoints.voices(height) == [high]


@pytest.mark.parametrize("liar", [0, 1])
async def test_probe__a_height_of_a_billion__ranks_nobody(
    stage: Stage, second: ChainServer, two: Endpoints, monkeypatch: pytest.MonkeyPatch, liar: int
) -> None:
    _tells_blocks(monkeypatch, (stage.node, second)[liar], number=10**9)
    await two.probe()
    assert [health.lag_blocks for health in two.health()] == [0, 0]
    asked = [stage.node.requests, second.requests]
    await two.call("eth_chainId")
    assert [stage.node.requests, second.requests] == [asked[0] + 1, asked[1]]  # as configured


@pytest.mark.parametrize("liar", [0, 1])
async def test_estimate__one_says_that_it_reverts__the_others_word_counts(
    stage: Stage, second: ChainServer, two: Endpoints, monkeypatch: pytest.MonkeyPatch, liar: int
) -> None:
    stage.offer()
    job = stage.request()
    call = {"from": stage.provider, "to": stage.registry}
    good = {**call, "data": "0x" + stage.calls.report_started(job, "1.2.3.4:1300").data.hex()}
    _reverts(monkeypatch, (stage.node, second)[liar])
    assert int(await two.call("eth_estimateGas", good), 16) > 21_000
    (stage.node, second)[1 - liar].faults.refuse = True
    with pytest.raises(NodeRefused, match="a second is asked"):  # one word, and nobody to ask
        await two.call("eth_estimateGas", good)


async def test_estimate__two_say_that_it_reverts__reverts(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    data = "0x" + stage.calls.settle(JobId(1)).data.hex()  # no such job
    with pytest.raises(CallReverted):
        await two.call("eth_estimateGas", {"to": stage.registry, "data": data})


async def test_preferred__first_is_doubted__second_answers_and_is_asked_first_for_a_while(
    stage: Stage, second: ChainServer, two: Endpoints
) -> None:
    stage.node.faults.lag = 1

    async def height(rpc: Rpc) -> int:
        return int(await rpc.call("eth_blockNumber"), 16)

    def doubt(number: int, now: float) -> str:
        return "" if number == stage.head.number else "too low"

    assert await two.preferred(height, doubt) == stage.head.number
    asked = stage.node.requests
    await two.call("eth_chainId")
    assert stage.node.requests == asked
    stage.clock.at += DOUBT_SECONDS
    two._probed_at = stage.clock.at  # the probe beside it would ask, too
    await two.call("eth_chainId")
    assert stage.node.requests == asked + 1
    second.faults.lag = 2  # of none that is beyond doubt, the first
    assert await two.preferred(height, doubt) == stage.head.number - 1


def _answers(patch: pytest.MonkeyPatch, node: ChainServer, method: str, change: Any) -> None:
    """This node alone tells what `change` makes of its answers to `method`."""
    honest = node._faulty

    def told(asked: str, params: list[Any]) -> Any:
        answer = honest(asked, params)
        return change(answer) if asked == method else answer

    patch.setattr(node, "_faulty", told)


def _tells_blocks(patch: pytest.MonkeyPatch, node: ChainServer, **fields: int) -> None:
    lies = {name: hex(value) for name, value in fields.items()}
    _answers(patch, node, "eth_getBlockByNumber", lambda block: {**block, **lies})


def _reverts(patch: pytest.MonkeyPatch, node: ChainServer) -> None:
    def refuse(answer: Any) -> Any:
        raise Rejected(3, "execution reverted")

    _answers(patch, node, "eth_estimateGas", refuse)


async def test_batch__node_takes_few__is_split_and_remembered(
    stage: Stage, endpoints: Endpoints
) -> None:
    stage.node.faults.max_batch = 3
    assert len(await endpoints.batch([HEIGHT] * 50)) == 50
    before = stage.node.requests
    assert len(await endpoints.batch([HEIGHT] * 6)) == 6
    assert stage.node.requests - before == 2
    stage.node.faults.max_batch = 1
    assert len(await endpoints.batch([HEIGHT] * 3)) == 3


async def test_batch__node_refuses_one_of_it__goes_on_taking_as_many(
    stage: Stage, endpoints: Endpoints
) -> None:
    unknown = Request("eth_unknown")
    for _ in range(8):
        with pytest.raises(NodeRefused, match="eth_unknown"):
            await endpoints.batch([HEIGHT, unknown, HEIGHT, HEIGHT])
    before = stage.node.requests
    assert len(await endpoints.batch([HEIGHT] * 50)) == 50
    assert stage.node.requests - before == 1


async def test_batch__node_refuses_each_of_too_many__is_split(
    stage: Stage, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = stage.node.answer

    def limited(body: Any) -> Any:
        if not isinstance(body, list) or len(body) <= 3:
            return answer(body)
        error = {"code": -32005, "message": "too many"}
        return [{"id": each["id"], "error": error} for each in body]

    monkeypatch.setattr(stage.node, "answer", limited)
    assert len(await endpoints.batch([HEIGHT] * 7)) == 7


def _one_error(body: Any, most: int) -> Any:
    """geth's answer to a batch with too many requests."""
    refusal = {"id": body[0]["id"], "error": {"code": -32600, "message": "batch too large"}}
    return [refusal] if len(body) > most else None


def _cut_short(body: Any, most: int) -> Any:
    """geth's answer to a batch of which only `most` were answered in time."""
    error = {"code": -32002, "message": "request timed out"}
    late = [{"id": each["id"], "error": error} for each in body[most:]]
    return [{"id": each["id"], "result": "0x1"} for each in body[:most]] + late if late else None


async def test_batch__node_lacks_what_one_asks_for__goes_on_taking_as_many(
    stage: Stage, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, error = stage.node.answer, {"code": -32002, "message": "Resource unavailable"}

    def lacking(body: Any) -> Any:
        if not isinstance(body, list) or len(body) != 4:
            return answer(body)
        return [*answer(body[:3]), {"id": body[3]["id"], "error": error}]

    monkeypatch.setattr(stage.node, "answer", lacking)
    with pytest.raises(NodeRefused, match="Resource unavailable"):
        await endpoints.batch([HEIGHT] * 4)
    before = stage.node.requests
    assert len(await endpoints.batch([HEIGHT] * 50)) == 50
    assert stage.node.requests - before == 1


@pytest.mark.parametrize("refuse", [_one_error, _cut_short])
async def test_batch__node_refuses_it_as_geth_does__is_split_and_grows_back(
    stage: Stage,
    endpoints: Endpoints,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[[Any, int], Any],
) -> None:
    answer, most = stage.node.answer, 3

    def limited(body: Any) -> Any:
        refused = refuse(body, most) if isinstance(body, list) else None
        return answer(body) if refused is None else refused

    monkeypatch.setattr(stage.node, "answer", limited)
    assert len(await endpoints.batch([HEIGHT] * 48)) == 48
    most = 100
    for _ in range(30):
        await endpoints.batch([HEIGHT] * 200)
    before = stage.node.requests
    await endpoints.batch([HEIGHT] * 100)
    assert stage.node.requests - before == 1


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:9/{SECRET}", f"http://user:{SECRET}@127.0.0.1:9/v3",
     f"http://127.0.0.1:9/rpc?apikey={SECRET}"],
)  # fmt: skip
async def test_secrets__whatever_fails__are_nowhere(
    stage: Stage, url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    live = url.replace("127.0.0.1:9", stage.node.url.removeprefix("http://"))
    said = []
    for fault in ({}, {"status": 500}, {"status": 404}, {"refuse": True}):
        stage.node.faults.__init__()  # type: ignore[misc]  # back to no faults
        opened = await Endpoints.open([live, url], stage.clock)
        stage.node.faults.set(fault)
        for method in ("eth_chainId", SECRET):
            try:
                await opened.call(method)
            except Fault as fault_:
                said += [str(fault_), repr(fault_), repr(fault_.__cause__)]
        said += [repr(opened.health()), repr(opened._nodes), str(SecretUrl(url))]
        await opened.close()
    structlog.reset_defaults()
    said += [caplog.text, *capsys.readouterr(), *(str(r.__dict__) for r in caplog.records)]
    assert any("127.0.0.1" in text for text in said)
    assert SECRET not in "".join(said)


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "localhost:8545", "http://x:99999/", "ws://x", "http://[x"]
)
def test_secret_url__not_http__is_a_usage_fault_without_the_url(url: str) -> None:
    with pytest.raises(UsageFault):
        SecretUrl(url)
    with pytest.raises(UsageFault) as fault:
        SecretUrl(f"ftp://host/{SECRET}")
    assert SECRET not in str(fault.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [("0x", "without a reason"), (None, "without a reason"), (7, "without a reason"),
     ("0xzz", "without a reason"), ("0x4e487b71" + f"{0x11:064x}", "panic 0x11"),
     ("Reverted 0x12345678", "0x12345678"), ({"data": "0x12"}, "0x12"),
     ("0x08c379a0" + f"{32:064x}" + f"{2**255:064x}" + b"hm".hex(), "hm"),
     ("0x08c379a0" + f"{32:064x}" + f"{2:064x}" + "c328".ljust(64, "0"), "\\xc3(")],
)  # fmt: skip
def test_revert_reason__whatever_a_node_sends__is_a_short_text(data: object, reason: str) -> None:
    assert revert_reason(data) == reason


def _say(answer: object, body: object) -> object:
    return answer


async def test_answers__of_another_shape__are_faults_of_the_endpoint(
    stage: Stage, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[object] = [None, 7, "x", [], {}, {"id": 1}, {"error": "no"}, {"error": {}}]
    for answer in answers:
        monkeypatch.setattr(stage.node, "answer", partial(_say, answer))
        with pytest.raises((NoEndpoint, NodeRefused)):
            await endpoints.call("eth_blockNumber")
        with pytest.raises((NoEndpoint, NodeRefused)):
            await endpoints.batch([HEIGHT, HEIGHT])


def test_secret_url__of_an_ipv6_address__is_shown_as_it_is_written() -> None:
    assert str(SecretUrl("http://[2001:db8::1]:8545/key-0123")) == "http://[2001:db8::1]:8545/…"
    assert SecretUrl("https://[::1]").place == "[::1]:443"
