"""Nodes that take few requests a batch or a second, whatever they say of it; over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.chain.endpoints import Endpoints, NoEndpoint
from agent.chain.rpc import Limited, NodeRefused, Request
from tests.agent.chain.odd_node import OddNode, Said, Say, answered, each, odd_node
from tests.clocks import MovingClock

pytestmark = pytest.mark.integration

Json = Any
ASKED = [Request("eth_getBalance", (f"0x{n:040x}", "latest")) for n in range(100)]
WANTED = [request.params[0] for request in ASKED]

# Seen of public nodes and gateways (erigon, geth, dRPC, Alchemy, Infura, QuickNode, BSC), and
# words of nobody.
SENTENCES = [
    (-32600, "batch too large"), (-32000, "batch limit 100 exceeded: 142 requests given"),
    (31, "Batch of more than 3 requests are not allowed on free tier"),
    (-32014, "maximum 10 calls in 1 batch"), (-32005, "daily request count exceeded"),
    (429, "Your app has exceeded its compute units per second capacity"),
    (-32007, "15/second request limit reached"), (-32602, "batch calls are not available here"),
    (-32029, "too many requests"), (0, ""),
]  # fmt: skip
# What a gateway that knows no batches finds wrong with a list, in its words for one request. Of one
# request they would be about that one alone.
OF_NONE = [
    (-32601, "the method undefined does not exist/is not available"),
    (-32001, "Resource not found"), (3, "execution reverted"), (-32601, "Method not found"),
    (-32015, "VM execution error."),
]  # fmt: skip
OF_THE_WHOLE = {"one object", "list of one, no id", "list of one, first id"}


def _error(id_: Json, code: int, text: str) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}}


# How a refusal of a batch of too many is written: body, most that is taken, code, text.
FORMS: dict[str, Callable[[Json, int, int, str], Json]] = {
    "one object": lambda body, most, code, text: _error(None, code, text),
    "list of one, no id": lambda body, most, code, text: [_error(None, code, text)],
    "list of one, first id": lambda body, most, code, text: [_error(body[0]["id"], code, text)],
    "each": lambda body, most, code, text: [_error(one["id"], code, text) for one in body],
    "the rest": lambda body, most, code, text: [
        *map(answered, body[:most]),
        *(_error(one["id"], code, text) for one in body[most:]),
    ],
    "the rest left out": lambda body, most, code, text: [*map(answered, body[:most])],
    "in a gateway's words": lambda body, most, code, text: {"message": text, "code": code},
    "text": lambda body, most, code, text: text,
    "nothing": lambda body, most, code, text: None,
}


def _takes(most: int, form: str, status: int, code: int, text: str) -> Say:
    def say(body: Json) -> Said | bytes | None:
        if not isinstance(body, list) or len(body) <= most:
            return Said.json(each(body))
        if form == "cut":
            return None
        if form == "page":
            return Said(f"<html><h1>{status} {text}</h1></html>".encode(), status)
        return Said.json(FORMS[form](body, most, code, text), status)

    return say


async def _asked(node: OddNode, clock: MovingClock) -> list[Json]:
    endpoints = await Endpoints.open([node.url], clock)
    try:
        return await endpoints.batch(ASKED)
    finally:
        await endpoints.close()


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(1, 40),
    form=st.sampled_from([*FORMS, "cut", "page"]),
    status=st.sampled_from([200, 400, 402, 403, 404, 413, 422, 429, 500, 502, 503, 520]),
    words=st.sampled_from([*SENTENCES, *OF_NONE])
    | st.tuples(st.integers(-(10**6), 10**6), st.text()),
)
def test_batch__more_than_a_node_takes__whatever_it_says__finds_its_size(
    most: int, form: str, status: int, words: tuple[int, str]
) -> None:
    code, text = words
    named = form == "list of one, first id" and code in (3, -32015)  # of that one, by its id
    if words in OF_NONE and (named or form not in OF_THE_WHOLE):
        code, text = SENTENCES[0]

    async def run() -> None:
        async with odd_node(_takes(most, form, status, code, text)) as node:
            assert await _asked(node, MovingClock(1_800_000_000)) == WANTED
            singles = [one for body in node.bodies for one in (body if type(body) is list else [])]
            assert len(node.bodies) < 20 + 2 * 100 / max(1, most // 4)
            assert len(singles) < 800

    asyncio.run(run())


@pytest.mark.parametrize("answer", [None, Said(b"<html>502 Bad Gateway</html>", 502)], ids=str)
async def test_batch__one_exchange_in_six_goes_astray__its_size_stays(answer: Said | None) -> None:
    """A balancer with one bad backend, not a node that takes few: asked one by one, hundreds of
    requests would hardly ever all get through."""
    count = 0

    def say(body: Json) -> Said | None:
        nonlocal count
        count += 1
        return answer if count % 6 == 0 else Said.json(each(body))

    async with odd_node(say) as node:
        clock, passed = MovingClock(1_800_000_000), 0
        endpoints = await Endpoints.open([node.url], clock)
        for _ in range(40):
            with contextlib.suppress(NoEndpoint):
                passed += await endpoints.batch(ASKED) == WANTED
            clock.at += 3
        assert passed == 40
        assert min(len(body) for body in node.bodies if type(body) is list) >= 99
        await endpoints.close()


async def test_batch__answers_too_late__is_asked_smaller_once_one_alone_passes() -> None:
    slow = asyncio.Event()

    def say(body: Json) -> Said | bytes | Any:
        return Said.json(each(body)) if type(body) is dict or len(body) <= 10 else _never(slow)

    async with odd_node(say) as node:
        endpoints = await Endpoints.open([node.url], MovingClock(0), timeout_seconds=0.15)
        for _ in range(8):
            with contextlib.suppress(NoEndpoint):
                assert await endpoints.batch(ASKED) == WANTED
                break
        else:
            pytest.fail("it never asks for less")
        await endpoints.close()


def _never(event: asyncio.Event) -> Any:
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        yield b""


class Bucket:
    """So many items a second, counted as providers do; what is over is refused item by item."""

    def __init__(self, clock: MovingClock, rate: float, code: int, text: str) -> None:
        self.clock, self.rate, self.error = clock, rate, (code, text)
        self.tokens, self.at, self.refused = rate, clock.now(), 0

    def __call__(self, body: Json) -> Said:
        many = body if isinstance(body, list) else [body]
        said = [self._one(one) for one in many]
        return Said.json(said if isinstance(body, list) else said[0])

    def _one(self, one: Json) -> Json:
        now = self.clock.now()
        self.tokens = min(self.rate, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            self.refused += 1
            return _error(one["id"], *self.error)
        self.tokens -= 1
        return answered(one)


@pytest.mark.parametrize(("code", "text"), [SENTENCES[5], SENTENCES[6], SENTENCES[8]])
async def test_rate__items_over_it_are_refused__all_is_answered_and_the_rate_is_kept_under(
    code: int, text: str
) -> None:
    clock = MovingClock(1_800_000_000)
    bucket = Bucket(clock, 15, code, text)
    async with odd_node(bucket) as node:
        endpoints = await Endpoints.open([node.url], clock)
        assert await endpoints.batch(ASKED) == WANTED
        learning = bucket.refused
        for _ in range(5):
            assert await endpoints.batch(ASKED) == WANTED
        assert learning <= 100
        assert bucket.refused - learning <= 25  # of 500; the pace tries a little more at times
        assert clock.now() - 1_800_000_000 <= 2.5 * 600 / 15
        await endpoints.close()


async def test_rate__asked_to_wait__nothing_is_sent_until_then_even_with_one_node() -> None:
    clock, limited = MovingClock(1_800_000_000), True

    def say(body: Json) -> Said:
        if limited and (type(body) is list or body["method"] != "eth_chainId"):
            return Said.json(_error(None, 429, "slow down"), 429, Retry_After="40")
        return Said.json(each(body))

    async with odd_node(say) as node:
        endpoints = await Endpoints.open([node.url], clock)
        with pytest.raises(NoEndpoint, match="slow down") as told:
            await endpoints.batch(ASKED)
        assert told.value.after_seconds == 40
        sent = len(node.bodies)
        for _ in range(25):
            with pytest.raises(NoEndpoint):
                await endpoints.call("eth_getBalance", "0x1")
            clock.at += 1
        assert len(node.bodies) == sent
        limited, clock.at = False, clock.at + 15
        assert await endpoints.call("eth_getBalance", "0x1") == "0x1"
        assert endpoints.health()[0].usable
        await endpoints.close()


async def test_rate__two_nodes__the_other_is_asked_at_once() -> None:
    clock = MovingClock(1_800_000_000)

    def limited(body: Json) -> Said:
        many = type(body) is list or body["method"] != "eth_chainId"
        return Said.json(_error(None, -32029, "rate limit"), 429) if many else Said.json(each(body))

    async with odd_node(limited) as first, odd_node(lambda body: Said.json(each(body))) as second:
        endpoints = await Endpoints.open([first.url, second.url], clock)
        assert await endpoints.batch(ASKED) == WANTED
        assert clock.slept == []
        await endpoints.close()


async def test_refusal__of_one_request__is_raised_and_the_size_stays() -> None:
    def lacks(one: Json) -> Json:
        lacking = one["params"] and one["params"][0] == WANTED[5]
        return _error(one["id"], -32000, "header not found") if lacking else answered(one)

    def say(body: Json) -> Said:
        return Said.json([lacks(one) for one in body] if type(body) is list else lacks(body))

    async with odd_node(say) as node:
        endpoints = await Endpoints.open([node.url], MovingClock(0))
        for _ in range(8):
            with pytest.raises(NodeRefused, match="header not found"):
                await endpoints.batch(ASKED)
        assert await endpoints.batch(ASKED[6:]) == WANTED[6:]
        assert [len(body) for body in node.bodies if type(body) is list] == [100] * 8 + [94]
        await endpoints.close()


KEY = "s3cr3t-k3y-0123456789abcdef"


@pytest.mark.parametrize("status", [200, 403, 429, 500])
async def test_sentence__of_a_node__is_one_printable_line_without_the_key(status: int) -> None:
    said = f"no batches\x1b[2J for {KEY}\n, pay at https://x " + "y" * 5000

    def say(body: Json) -> Said:
        chain = type(body) is dict and body["method"] == "eth_chainId"
        return Said.json(
            each(body) if chain else _error(None, -32000, said), 200 if chain else status
        )

    async with odd_node(say) as node:
        endpoints = await Endpoints.open([f"{node.url}/v3/{KEY}"], MovingClock(0))
        with pytest.raises((NoEndpoint, NodeRefused, Limited)) as told:
            await endpoints.batch(ASKED[:7])
        text = str(told.value)
        assert "no batches" in text
        assert text.isprintable()
        assert KEY not in text
        assert len(text) < 500
        await endpoints.close()
