"""A MarketV1 on a real EVM behind real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.chain.endpoints import Endpoints
from agent.chain.head import block_ref
from agent.chain.transactions import Call
from agent.chain.wallet import LocalSigner
from agent.market.model import Address, BlockRef, InstanceType, JobId, Price, Wei
from agent.market.workload import Workload
from agent.markets.marketv1.calls import Calls
from agent.markets.marketv1.metadata import write
from agent.markets.marketv1.reads import Market
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.token import token_abi
from contracts.deploy import deploy_marketv1
from devnet.chain.evm import Evm
from devnet.chain.node import ChainServer
from tests.agent.conftest import KEYS
from tests.clocks import MovingClock
from tests.onchain import send

START = 1_800_000_000
KIND = InstanceType("us-east-1", "c6a.xlarge")
WORK = Workload("https://images.example/x.eif", 4096, 2)
CARD = Price(10**12)


@dataclass
class Live:
    """A deployed market and its people: 0 the provider, 1 an owner, 2 another provider."""

    node: ChainServer
    clock: MovingClock
    contract: Address
    payment: Address

    @property
    def calls(self) -> Calls:
        return Calls(self.contract)

    def address(self, who: int) -> Address:
        return LocalSigner(bytes.fromhex(KEYS[who])).address

    def send(self, who: int, call: Call) -> str:
        return send(self.node, KEYS[who], call)

    def open(
        self, *, provider: int = 0, rate: int = 10**12, balance: int = 10_000,
        metadata: str = write(KIND, WORK),
    ) -> None:  # fmt: skip
        who = self.address(provider)
        self.send(1, self.calls.open(metadata, who, Price(rate), Wei(balance)))

    def close(self, job: int) -> None:
        self.send(1, self.calls.announce(JobId(job), Price(0)))
        self.clock.at = float(self.head.timestamp + 301)
        self.send(1, self.calls.close(JobId(job)))

    def mine(self, blocks: int) -> None:
        self.node.call("evm_mine", hex(blocks)) if blocks == 1 else self._many(blocks)

    def _many(self, blocks: int) -> None:
        for _ in range(blocks):
            self.node.call("evm_mine")

    @property
    def head(self) -> BlockRef:
        return block_ref(self.node.call("eth_getBlockByNumber", "latest", False))


@pytest.fixture(scope="session")
def opened() -> Iterator[Live]:
    clock = MovingClock(START)
    with ChainServer(evm=Evm(now=clock.now)) as node:
        made = deploy_marketv1(Web3(HTTPProvider(node.url)), Account.from_key(KEYS[0]))
        live = Live(node, clock, Address(made.market), Address(made.payment_token))
        mint = token_abi().encode("mint", live.address(1), 10**24)
        live.send(1, Call(live.payment, mint, "mint"))
        live.send(1, live.calls.approve(live.payment, Wei(2**255)))
        yield live


@pytest.fixture
def live(opened: Live) -> Iterator[Live]:
    """The market without a job; what a test does to it is undone."""
    before, snapshot = opened.clock.at, opened.node.call("evm_snapshot")
    yield opened
    opened.node.faults.__init__()  # type: ignore[misc]  # back to no faults
    opened.clock.at = before
    opened.node.call("evm_revert", snapshot)
    opened.clock.slept.clear()


@pytest_asyncio.fixture
async def endpoints(live: Live) -> AsyncIterator[Endpoints]:
    found = await Endpoints.open([live.node.url], live.clock)
    yield found
    await found.close()


@pytest.fixture
def market(live: Live, endpoints: Endpoints) -> Market:
    return Market(endpoints, live.contract, MarketV1Terms({str(KIND): CARD}))
