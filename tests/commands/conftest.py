"""A market on a real EVM behind real HTTP, and a configuration that points the program at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.chain.transactions import Call
from agent.market.model import Address, JobId, Price, Wei
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import registry_abi
from agent.markets.token import token_abi
from contracts.deploy import Params, deploy
from devnet.chain.node import ChainServer
from tests.onchain import send

from .program import oyster_here

# Well-known development keys: provider (and deployer), user, auditor.
KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
TYPE = "us-east-1/c6a.xlarge"
POND = 10**18


@dataclass
class World:
    """A deployed market, the provider's configuration, and what other people do."""

    node: ChainServer
    registry: Address
    pond: Address
    payment: Address
    config: Path

    def run(self, *words: str) -> Any:
        """The program with the configuration; gives the finished process."""
        alone = {"OYSTER_STATUS__LISTEN": "127.0.0.1:9"}  # no agent of somebody else's
        return oyster_here(*words, environ={"OYSTER_CONFIG": str(self.config), **alone})

    def ask(self, *words: str) -> Any:
        """What it answers with --json."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def send(self, who: int, call: Call) -> None:
        send(self.node, KEYS[who], call)

    @property
    def calls(self) -> Calls:
        return Calls(self.registry)

    def read(self, name: str, *args: object) -> Any:
        """A getter of the contract."""
        data = "0x" + registry_abi().encode(name, *args).hex()
        return registry_abi().decode(
            name, self.node.call("eth_call", {"to": self.registry, "data": data})
        )

    def request(self, deposit: int = 10 * 10**6) -> JobId:
        """The user asks for an instance."""
        self.send(1, self.calls.approve(self.payment, Wei(deposit)))
        price = Price.parse("1/h", 6)
        self.send(1, self.calls.request_job(TYPE, price, "ipfs://image", Wei(deposit)))
        return JobId(self.read("jobCount"))


@pytest.fixture(scope="session")
def chain() -> Iterator[tuple[ChainServer, Any]]:
    with ChainServer() as node:
        done = deploy(
            Web3(HTTPProvider(node.url)), Account.from_key(KEYS[0]),
            Params(100 * POND, 300, 600, 120, 1), [Account.from_key(KEYS[2]).address],
        )  # fmt: skip
        for who, token in ((0, done.pond), (1, done.payment_token)):
            mint = token_abi().encode("mint", Account.from_key(KEYS[who]).address, 10**24)
            send(node, KEYS[who], Call(Address(token), mint, "mint"))
        yield node, done


@pytest.fixture
def world(chain: tuple[ChainServer, Any], tmp_path: Path) -> Iterator[World]:
    node, done = chain
    key = tmp_path / "key"
    key.write_text(KEYS[0] + "\n")
    key.chmod(0o600)
    made = oyster_here(
        "init", tmp_path / "config.toml", "--chain-id", str(node.evm.chain_id),
        "--registry", done.registry, "--rpc-url", node.url, "--region", "us-east-1",
        "--key-file", "key", "--state-dir", "state", "--offer", f"{TYPE}=0.17/h",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with node.lock:
        before = node.evm.snapshot()
    yield World(
        node, Address(done.registry), Address(done.pond), Address(done.payment_token),
        tmp_path / "config.toml",
    )  # fmt: skip
    with node.lock:
        node.evm.revert(before)
