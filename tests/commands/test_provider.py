"""A provider's entry on Marlin's market, by the real program against a real contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.markets.marketv1.reads import market_abi
from commands.provider import unanswered
from contracts.deploy import deploy_marketv1
from devnet.chain.node import ChainServer

from .conftest import KEYS
from .program import oyster_here

pytestmark = pytest.mark.integration

CARD = {"instance": "c6a.xlarge", "min_rate": "0x5", "cpu": 2, "memory": 4096, "arch": "amd64"}
SPEC: dict[str, Any] = {
    "allowed_regions": ["us-east-1"],
    "min_rates": [{"region": "us-east-1", "rate_cards": [CARD]}],
}


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, told: dict[str, Any], *args: Any) -> None:
        self._told = told
        super().__init__(*args)

    def do_GET(self) -> None:
        body = self._told.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def told() -> dict[str, Any]:
    """What the provider's URL answers, by path."""
    return {"/spec": SPEC}


@pytest.fixture
def url(told: dict[str, Any]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, told)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class Market:
    node: ChainServer
    contract: str
    config: Path

    def run(self, *words: str) -> Any:
        return oyster_here("provider", *words, environ={"OYSTER_CONFIG": str(self.config)})

    def entry(self) -> str:
        data = "0x" + market_abi().encode("providers", Account.from_key(KEYS[0]).address).hex()
        answer = self.node.call("eth_call", {"to": self.contract, "data": data})
        return str(market_abi().decode("providers", answer))


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[ChainServer, str]]:
    with ChainServer() as node:
        made = deploy_marketv1(Web3(HTTPProvider(node.url)), Account.from_key(KEYS[0]))
        yield node, made.market


@pytest.fixture
def market(chain: tuple[ChainServer, str], tmp_path: Path) -> Iterator[Market]:
    node, contract = chain
    key = tmp_path / "key"
    key.write_text(KEYS[0] + "\n")
    key.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(
        f'state_dir = "state"\n[chain]\nchain_id = {node.evm.chain_id}\nmarket = "marketv1"\n'
        f'registry = "{contract}"\nrpc_urls = ["{node.url}"]\nfinality = "1"\n'
        '[wallet]\nkey_file = "key"\n[aws]\nregions = ["us-east-1"]\n'
    )
    snapshot = node.evm.snapshot()
    yield Market(node, contract, config)
    node.evm.revert(snapshot)


def test_provider__added_updated_shown_and_removed__is_on_the_chain(
    market: Market, url: str
) -> None:
    assert market.run("add", "--url", url, "--dry-run").returncode == 0
    assert market.entry() == ""
    assert market.run("add", "--url", url, "--yes").returncode == 0
    assert market.entry() == url
    other = url.replace("127.0.0.1", "localhost")
    assert market.run("update", "--url", other, "--yes").returncode == 0
    assert market.entry() == other
    shown = json.loads(market.run("show", "--json").stdout)
    assert (shown["url"], shown["answers"]) == (other, True)
    assert market.run("remove", "--yes").returncode == 0
    assert market.entry() == ""


def test_provider__contract_says_no__is_refused_with_its_reason(market: Market, url: str) -> None:
    done = market.run("update", "--url", url, "--yes")
    assert (done.returncode, "not found" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "wrong",
    ["http://127.0.0.1/", "ftp://a.example", "a.example", "http://", "http://a b", "http://u@a.b",
     "http://a.example?x=1", "http://a.example#x", "http://[::1", "http://ä.example"],
)  # fmt: skip
def test_url__that_no_tool_could_use__is_a_usage_error(market: Market, wrong: str) -> None:
    done = market.run("add", "--url", wrong, "--yes")
    assert done.returncode == 2, done.stderr
    assert market.entry() == ""


@pytest.mark.parametrize(
    "spec",
    [
        None, [], {}, {"allowed_regions": ["us-east-1"], "min_rates": []},
        {**SPEC, "min_rates": [{"region": "us-east-1", "rate_cards": []}]},
        {**SPEC, "min_rates": [{"region": "us-east-1", "rate_cards": [{**CARD, "memory": 0}]}]},
        {**SPEC, "min_rates": [{"region": "us-east-1", "rate_cards": [{**CARD, "min_rate": 5}]}]},
        {**SPEC, "allowed_regions": ["us-east-1", "eu-west-1"]},
    ],
)  # fmt: skip
def test_url__without_rate_cards__is_refused(
    market: Market, url: str, told: dict[str, Any], spec: object
) -> None:
    told["/spec"] = spec
    done = market.run("add", "--url", url, "--yes")
    assert done.returncode == 3, done.stderr
    assert f"{url}/spec" in done.stderr


def test_url__with_as_many_cards_as_a_rates_file_may_have__answers(
    url: str, told: dict[str, Any]
) -> None:
    told["/spec"] = {**SPEC, "min_rates": [{"region": "us-east-1", "rate_cards": [CARD] * 20_000}]}
    assert unanswered(url) == ""


def test_url__where_nobody_listens__is_refused(market: Market) -> None:
    done = market.run("add", "--url", "http://127.0.0.1:9", "--yes")
    assert (done.returncode, "does not answer" in done.stderr) == (3, True)


def test_key__that_is_not_the_providers__is_a_usage_error(market: Market, url: str) -> None:
    somebody = Account.from_key(KEYS[1]).address
    text = market.config.read_text().replace("[wallet]", f'provider = "{somebody}"\n[wallet]')
    market.config.write_text(text)
    done = market.run("add", "--url", url, "--yes")
    assert (done.returncode, "own key" in done.stderr) == (2, True)


def test_registry_commands__here__say_what_this_market_has_not(market: Market) -> None:
    done = oyster_here("stake", "1", "--yes", environ={"OYSTER_CONFIG": str(market.config)})
    assert (done.returncode, "no stake" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "url",
    ["http://\x1b[2J", "http://a:b:c", "no url at all", "", "http://a..b", f"http://{'a' * 64}.b"],
)
def test_unanswered__what_stands_on_the_chain_is_no_url__is_said(url: str) -> None:
    assert "does not answer" in unanswered(url)
