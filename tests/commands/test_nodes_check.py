"""`doctor`'s checks of each node by itself: every trouble has its own line and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.config import load
from agent.secret import SecretUrl
from commands.checkup import chain, nodes
from commands.checkup.patient import Finding, Patient
from devnet.chain.evm import Rejected
from devnet.chain.node import ChainServer
from tests.agent.chain.odd_node import Said, odd_node

from .conftest import World

pytestmark = pytest.mark.integration

Json = Any
KEY = "s3cr3t-k3y-0123456789abcdef"


def _refuses(method: str, when: Callable[[list[Json]], bool], code: int, text: str) -> Any:
    """A node of the same chain to which a certain request is strange."""

    def odd(node: ChainServer, monkeypatch: pytest.MonkeyPatch) -> None:
        true = node.methods.call

        def call(asked: str, params: list[Json]) -> Json:
            if asked == method and when(params):
                raise Rejected(code, text)
            return true(asked, params)

        monkeypatch.setattr(node.methods, "call", call)

    return odd


async def _examined(world: World, *urls: str) -> list[Finding]:
    config = load(world.config)
    found = replace(config.chain, rpc_urls=tuple(SecretUrl(url) for url in urls))
    patient = Patient(replace(config, chain=found), world.config)
    checks = (nodes.nodes, nodes.finality, nodes.at_hash, nodes.batches, chain.clock)
    return [finding for check in checks for finding in await check(patient)]


def _of(findings: list[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.name == name]


@pytest.fixture
def second(world: World) -> Any:
    with world.node.twin() as node:
        yield node


async def test_nodes__all_is_well__one_line_each(world: World, second: ChainServer) -> None:
    world.node.call("evm_mine")  # the chain is as old as the session
    found = await _examined(world, world.node.url, second.url)
    assert [(each.name, each.verdict) for each in found] == [
        ("nodes", "ok"), ("finality", "ok"), ("reads at a block", "ok"), ("batches", "ok"),
        ("clock", "ok"),
    ]  # fmt: skip


async def test_nodes__two_urls_of_one_host__are_no_second_word(world: World) -> None:
    (found,) = _of(await _examined(world, world.node.url, f"{world.node.url}/?key=other"), "nodes")
    assert (found.verdict, found.found.startswith("2 URLs of 127.0.0.1:")) == ("warn", True)
    assert "another operator" in found.todo


@pytest.mark.parametrize(
    ("method", "when", "code", "text", "check", "todo"),
    [
        ("eth_getBlockByNumber", lambda params: params[0] == "finalized", -39001,
         "unknown block", "finality", 'chain.finality = "64"'),
        ("eth_getBlockByNumber", lambda params: params[0] == "finalized", -32000,
         "finalized block not found", "finality", 'chain.finality = "64"'),
        ("eth_call", lambda params: isinstance(params[-1], dict), -32602,
         "cannot unmarshal object into Go value of type string", "reads at a block", "EIP-1898"),
    ],
)  # fmt: skip
async def test_nodes__one_lacks_something__its_name_and_words_and_the_remedy(
    world: World,
    second: ChainServer,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    when: Callable[[list[Json]], bool],
    code: int,
    text: str,
    check: str,
    todo: str,
) -> None:
    _refuses(method, when, code, text)(second, monkeypatch)
    (finding,) = _of(await _examined(world, world.node.url, second.url), check)
    assert finding.verdict == "warn"
    assert second.url in finding.found
    assert text in finding.found
    assert todo in finding.todo
    (alone,) = _of(await _examined(world, second.url), check)
    assert alone.verdict == "fail"


async def test_nodes__one_s_final_block_stands_still__is_named_with_how_far_it_is_behind(
    world: World, second: ChainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = second.methods.call

    def call(asked: str, params: list[Json]) -> Json:
        answer = true(asked, params)
        if asked == "eth_getBlockByNumber" and params[0] != "latest":
            return {**answer, "timestamp": hex(int(answer["timestamp"], 16) - 7300)}
        return answer

    monkeypatch.setattr(second.methods, "call", call)
    (finding,) = _of(await _examined(world, world.node.url, second.url), "finality")
    assert (finding.verdict, second.url in finding.found) == ("warn", True)
    assert "2 h 1 min older than its head" in finding.found
    assert "ends wait" in finding.todo


async def test_nodes__takes_few_at_once__is_told_with_its_words(
    world: World, second: ChainServer
) -> None:
    second.faults.max_batch = 3
    (finding,) = _of(await _examined(world, world.node.url, second.url), "batches")
    assert finding.verdict == "warn"
    assert "takes 3 requests at once" in finding.found
    assert "is too large" in finding.found


async def test_nodes__each_that_is_down__is_named_with_its_own_error(world: World) -> None:
    there = {"Location": f"https://node.example/{KEY}"}

    def say(status: int, headers: dict[str, str]) -> Any:
        return lambda body: Said(b'{"message": "no such plan"}', status, headers)

    async with odd_node(say(301, there)) as moved, odd_node(say(403, {})) as closed:
        urls = [f"{node.url}/{KEY}" for node in (moved, closed)]
        found = await _examined(world, *urls, "http://127.0.0.1:9", world.node.url)
    by_name = {each.name: each for each in found}
    redirected, forbidden = by_name[f"{moved.url}/…"], by_name[f"{closed.url}/…"]
    assert "https://node.example/…" in redirected.found
    assert "write the URL that it redirects to" in redirected.todo
    assert "HTTP 403: no such plan" in forbidden.found
    assert "check the key" in forbidden.todo
    assert "ConnectError" in by_name["http://127.0.0.1:9"].found
    assert by_name["nodes"].found == "1 of 4 answer"
    assert KEY not in repr(found)


async def test_nodes__one_is_on_another_chain__is_named(world: World, second: ChainServer) -> None:
    second.faults.chain_id = 5
    found = await _examined(world, world.node.url, second.url)
    (finding,) = _of(found, second.url)
    assert (finding.verdict, finding.found) == ("fail", "is on chain 5, not 31337")


async def test_nodes__none_answers__the_rest_is_skipped(world: World) -> None:
    found = await _examined(world, "http://127.0.0.1:9")
    assert [(each.name, each.verdict) for each in found] == [
        ("http://127.0.0.1:9", "fail"), ("nodes", "warn"), ("finality", "skip"),
        ("reads at a block", "skip"), ("batches", "skip"), ("clock", "skip"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [((5, 5), "ok"), ((5, 50), "ok"), ((5, 10**9), "warn"), ((0, 500), "warn")],
)
async def test_job_ids__that_nodes_count_differently__are_named(
    world: World, counts: tuple[int, int], verdict: str
) -> None:
    patient = Patient(load(world.config), world.config)
    patient.nodes = [nodes.Diagnosis(f"node {count}", jobs=count) for count in counts]
    (finding,) = await nodes.ids(patient)
    assert finding.verdict == verdict
    if verdict == "warn":
        assert all(f"node {count} tells of {count} jobs" in finding.found for count in counts)
