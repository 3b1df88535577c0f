"""What a node sends over HTTP: nothing unpacked, bounded by what was asked and in pieces."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from typing import Any

import pytest

from agent.chain.http import Http, most_bytes
from agent.chain.rpc import EndpointDown, Limited, NodeRefused
from agent.secret import SecretUrl
from faults import UsageFault
from tests.agent.chain.odd_node import OddNode, Said, Say, each, odd_node

pytestmark = pytest.mark.integration

ASK = {"jsonrpc": "2.0", "id": 0, "method": "eth_call", "params": ["0x1", "latest"]}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def asking(say: Say, seconds: float = 5.0) -> AsyncIterator[tuple[Http, OddNode]]:
    async with odd_node(say) as node:
        http = Http(SecretUrl(node.url + "/key-0123456789"), timeout_seconds=seconds)
        yield http, node
        await http.close()


async def test_exchange__any_node__is_asked_for_identity_and_by_name() -> None:
    async with asking(lambda body: Said.json(each(body))) as (http, node):
        assert await http.exchange(ASK) == each(ASK)
    head = node.heads[0].lower()
    assert "accept-encoding: identity" in head
    assert "user-agent: oyster-provider/" in head
    assert head.startswith("post /key-0123456789 ")


async def test_exchange__user_and_password_in_the_url__are_sent_as_basic() -> None:
    async with odd_node(lambda body: Said.json(each(body))) as node:
        http = Http(SecretUrl(node.url.replace("//", "//user:word@") + "/v3?apikey=x"))
        assert await http.exchange(ASK) == each(ASK)
        await http.close()
    assert "authorization: basic dxnlcjp3b3jk" in node.heads[0].lower()
    assert node.heads[0].startswith("POST /v3?apikey=x ")


async def test_exchange__the_environment_names_a_proxy__goes_through_it_but_for_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with odd_node(lambda body: Said.json(each(body))) as node:
        monkeypatch.setenv("http_proxy", node.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for url in ("http://node.example/v1", f"{node.url}/direct"):
            http = Http(SecretUrl(url))
            assert await http.exchange(ASK) == each(ASK)
            await http.close()
    assert [head.split("\r\n")[0] for head in node.heads] == [
        "POST http://node.example/v1 HTTP/1.1", "POST /direct HTTP/1.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "head"),
    [("{host}", "POST http://node.example/v1"), ("http://u:p@{host}/", "POST http://node.example"),
     ("socks5://{host}", ""), ("ftp://{host}", ""), ("http://", "")],
)  # fmt: skip
async def test_exchange__a_proxy_however_it_is_written__is_used_or_named(
    monkeypatch: pytest.MonkeyPatch, given: str, head: str
) -> None:
    async with odd_node(lambda body: Said.json(each(body))) as node:
        monkeypatch.setenv("http_proxy", given.format(host=node.url.removeprefix("http://")))
        monkeypatch.setenv("no_proxy", "")
        if not head:
            with pytest.raises(UsageFault, match="http_proxy"):
                Http(SecretUrl("http://node.example/v1"))
            return
        http = Http(SecretUrl("http://node.example/v1"))
        assert await http.exchange(ASK) == each(ASK)
        assert node.heads[0].startswith(head)
        await http.close()


@pytest.mark.parametrize("status", [402, 404, 405, 407, 408, 410, 421, 451])
async def test_exchange__a_status_of_who_serves_nothing__is_a_node_that_is_down(
    status: int,
) -> None:
    async with odd_node(lambda body: Said(b"<h1>No such app</h1>", status)) as node:
        http = Http(SecretUrl(node.url))
        with pytest.raises(EndpointDown, match=f"HTTP {status}: No such app"):
            await http.exchange(ASK)
        await http.close()


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "x", "GZIP "])
async def test_exchange__packed_body__is_not_unpacked(encoding: str) -> None:
    bomb = gzip.compress(gzip.compress(b"[" + b"0," * 10**6 + b"0]"))
    said = Said(bomb, 200, {"Content-Encoding": encoding})
    async with asking(lambda body: said) as (http, _):
        with pytest.raises(EndpointDown, match="packed"):
            await http.exchange(ASK)


def test_most_bytes__of_a_body__is_what_its_requests_can_take() -> None:
    def one(method: str, *params: Any) -> dict[str, Any]:
        return {"method": method, "params": params}

    small = most_bytes(one("eth_blockNumber"))
    assert small < 2**17
    assert most_bytes(one("eth_getLogs")) == 8 * 2**20 + 64 * 2**10
    whole = most_bytes(one("eth_getBlockByNumber", "0x1", True))
    assert most_bytes(one("eth_getBlockByNumber", "0x1", False)) < 3 * 2**20 < whole
    assert most_bytes([one("eth_getLogs")] * 100) == 32 * 2**20 == whole


@pytest.mark.parametrize("length", [True, False])
async def test_exchange__more_than_was_asked_for__is_broken_off(length: bool) -> None:
    body = json.dumps({"id": 0, "result": "x" * 2**20}).encode()
    chunks = [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
    ]
    async with asking(lambda _: Said(body) if length else chunks) as (http, _):
        with pytest.raises(NodeRefused, match="answers more than 327680 bytes"):
            await http.exchange(ASK)


async def test_exchange__large_answer__is_read_whole() -> None:
    answer = [{"id": n, "result": "0x" + "ab" * 40_000} for n in range(40)]
    body = [{**ASK, "id": n} for n in range(40)]
    async with asking(lambda _: Said.json(answer)) as (http, _):
        assert await http.exchange(body) == answer


def _always(said: Said | bytes, body: Any) -> Said | bytes:
    return said


def _interim() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 400


def _bytewise() -> Iterator[bytes]:
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\n \r\n" * 400


def _trickle() -> Iterator[bytes]:
    yield HEAD + b"Content-Length: 100000\r\n\r\n"
    while True:
        yield b" "


@pytest.mark.parametrize("pieces", [_interim, _bytewise, _trickle])
async def test_exchange__crumbs_without_end__are_given_up_and_cost_the_loop_little(
    pieces: Any,
) -> None:
    async with asking(lambda _: pieces(), seconds=4.0) as (http, _):
        begun, cpu = time.monotonic(), time.thread_time()
        with pytest.raises(EndpointDown):
            await http.exchange(ASK)
        assert time.monotonic() - begun < 60
        assert time.thread_time() - cpu < 3  # of which the test's own server takes most


async def test_exchange__redirect__says_where_to_without_the_key() -> None:
    there = {"Location": "https://node.example/v3/key-0123456789"}
    async with asking(lambda _: Said(b"", 301, there)) as (http, _):
        with pytest.raises(EndpointDown, match=r"redirects .*https://node.example/…") as told:
            await http.exchange(ASK)
        assert "key-" not in str(told.value)


async def test_exchange__limited_until_a_date__waits_by_the_answer_s_own_clock() -> None:
    headers = {
        "Date": formatdate(10**9, usegmt=True),
        "Retry-After": formatdate(10**9 + 9, usegmt=True),
    }
    async with asking(lambda _: Said(b"", 429, headers)) as (http, _):
        with pytest.raises(Limited) as told:
            await http.exchange(ASK)
        assert told.value.after_seconds == 9


async def test_exchange__revert_with_a_status__is_the_contract_s_word() -> None:
    error = {"id": 0, "error": {"code": 3, "message": "execution reverted", "data": "0x"}}
    for status in (200, 400, 500):
        said = Said.json(error, status)
        async with asking(partial(_always, said)) as (http, _):
            assert await http.exchange(ASK) == error


async def test_exchange__truncated__is_a_fault_of_the_endpoint() -> None:
    for raw in (
        b"",
        b"HTTP",
        HEAD + b"Content-Length: 50\r\n\r\n{",
        HEAD + b'\r\n{"id":',
        b"\xff" * 99,
    ):
        async with asking(partial(_always, raw)) as (http, _):
            with pytest.raises((EndpointDown, NodeRefused)):
                await http.exchange(ASK)
    await asyncio.sleep(0)


@pytest.mark.parametrize("cut", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"])
async def test_exchange__a_kept_connection_is_cut__is_made_once_more_over_a_new_one(
    cut: bytes | None,
) -> None:
    """As balancers do with connections that were idle for a while: no word, the next request."""
    answered = 0

    def ends_each_after_one(body: Any) -> Said | bytes | None:
        nonlocal answered
        answered += 1
        return cut if answered == 2 else Said.json(each(body))

    async with asking(ends_each_after_one) as (http, node):
        assert await http.exchange(ASK) == each(ASK)
        assert await http.exchange(ASK) == each(ASK)
        assert await http.exchange(ASK) == each(ASK)
    assert len(node.bodies) == 4


async def test_exchange__a_new_connection_is_cut__is_the_node_s_fault_at_once() -> None:
    async with asking(lambda body: None) as (http, node):
        for _ in range(3):
            with pytest.raises(EndpointDown):
                await http.exchange(ASK)
    assert len(node.bodies) == 3
