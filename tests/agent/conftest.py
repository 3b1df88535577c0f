"""A market on a real EVM behind real HTTP, for the tests of the agent's chain side; quiet logs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import structlog
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.chain.endpoints import Endpoints
from agent.chain.head import Finality, HeadTracker
from agent.chain.transactions import Call
from agent.chain.wallet import LocalSigner
from agent.market.model import Address, BlockRef, JobId, Price, Wei
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market
from contracts.deploy import Params, deploy
from devnet.chain.evm import Evm
from devnet.chain.node import ChainServer
from tests.clocks import MovingClock
from tests.onchain import send

START = 1_800_000_000
# The well-known development keys: deployer and provider, user, another provider, auditor.
KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
TYPE = "us-east-1/c6a.xlarge"


@dataclass
class Stage:
    """A deployed market and its people. `send` mines at once."""

    node: ChainServer
    clock: MovingClock
    registry: Address
    pond: Address
    payment: Address
    signers: tuple[LocalSigner, ...]

    @property
    def provider(self) -> Address:
        return self.signers[0].address

    @property
    def calls(self) -> Calls:
        return Calls(self.registry)

    def send(self, who: int, call: Call) -> str:
        """One transaction outside of the agent's own way; its hash. Fails when it reverts."""
        return send(self.node, KEYS[who], call)

    def offer(self, who: int = 0, price: int = 10**12) -> None:
        self.send(who, self.calls.register(TYPE, Price(price)))

    def request(self, deposit: int = 10_000, url: str = "ipfs://image") -> JobId:
        self.send(1, self.calls.request_job(TYPE, Price(2**127), url, Wei(deposit)))
        from agent.markets.registry.reads import registry_abi

        count = self.node.call(
            "eth_call",
            {"to": self.registry, "data": "0x" + registry_abi().encode("jobCount").hex()},
        )
        return JobId(int(count, 16))

    @property
    def head(self) -> BlockRef:
        from agent.chain.head import block_ref

        return block_ref(self.node.call("eth_getBlockByNumber", "latest", False))


@pytest.fixture
def quiet() -> None:
    """Nothing below CRITICAL is logged: simulations say thousands of lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def deployed() -> Iterator[Stage]:
    """Deployed once a process; `stage` gives each test the chain as it was then."""
    clock = MovingClock(START)
    with ChainServer(evm=Evm(now=clock.now)) as node:
        w3 = Web3(HTTPProvider(node.url))
        params = Params(10**18, 300, 600, 120, 1)
        auditor = Account.from_key(KEYS[3]).address
        deployment = deploy(w3, Account.from_key(KEYS[0]), params, [auditor])
        stage = Stage(
            node, clock, Address(deployment.registry), Address(deployment.pond),
            Address(deployment.payment_token),
            tuple(LocalSigner(bytes.fromhex(key)) for key in KEYS),
        )  # fmt: skip
        _fund(stage)
        yield stage


def _fund(stage: Stage) -> None:
    from agent.markets.token import token_abi

    for who in (0, 1, 2):
        for token in (stage.pond, stage.payment):
            mint = token_abi().encode("mint", stage.signers[who].address, 10**24)
            stage.send(who, Call(token, mint, "mint"))
            stage.send(who, stage.calls.approve(token, Wei(2**255)))
    for who in (0, 2):
        stage.send(who, stage.calls.stake(Wei(100 * 10**18)))


@pytest.fixture
def stage(deployed: Stage) -> Iterator[Stage]:
    """The market, funded and staked; what a test does to it is undone."""
    node, clock = deployed.node, deployed.clock
    before, snapshot = clock.at, node.call("evm_snapshot")
    yield deployed
    node.faults.__init__()  # type: ignore[misc]  # back to no faults
    node.evm.automine, node.evm.min_tip, clock.at = True, 0, before
    node.call("evm_revert", snapshot)
    clock.slept.clear()


@pytest_asyncio.fixture
async def endpoints(stage: Stage) -> AsyncIterator[Endpoints]:
    opened = await Endpoints.open([stage.node.url], stage.clock)
    yield opened
    await opened.close()


@pytest.fixture
def market(stage: Stage, endpoints: Endpoints) -> Market:
    return Market(endpoints, stage.registry)


@pytest.fixture
def tracker(endpoints: Endpoints) -> HeadTracker:
    return HeadTracker(endpoints, Finality(2))
