"""What a command needs of the world, opened when it is first asked for and closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.chain.endpoints import Endpoints
from agent.chain.head import HeadTracker
from agent.chain.transaction_log import TransactionLog
from agent.chain.transactions import Transactions
from agent.clock import SystemClock
from agent.config import Config, load
from agent.market.model import Address, BlockRef
from agent.markets.marketv1.reads import Market as MarketV1
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market, Stake
from agent.markets.registry.terms import RegistryTerms
from agent.markets.token import Token
from agent.wiring.adapters import (
    cloud_settings,
    contract_of,
    fees_of,
    finality_of,
    open_endpoints,
    open_signer,
    patience_of,
    provider_address,
)
from faults import RetryLater, TryElsewhere, UsageFault

if TYPE_CHECKING:
    from cloud.aws import Aws

T = TypeVar("T")

# Why a command of one market says no on the other.
ONLY_OF = {
    "registry": "this command speaks with the registry: chain.market is marketv1, which has no "
    "stake, no offers on the chain and no exits",
    "marketv1": "this command is for Marlin's market: chain.market is registry; "
    "see `oyster-provider offers --help` for what is listed there",
}


@dataclass
class Desk:
    """The market as the configuration sees it, and the provider's account on it."""

    config: Config
    clock: SystemClock
    endpoints: Endpoints
    provider: Address

    @cached_property
    def registry(self) -> Address:
        return contract_of(self.config)

    @cached_property
    def market(self) -> Market:
        return Market(self.endpoints, self.registry)

    @cached_property
    def marketv1(self) -> MarketV1:
        return MarketV1(self.endpoints, self.registry, MarketV1Terms())

    @cached_property
    def calls(self) -> Calls:
        return Calls(self.registry)

    def open_cloud(self) -> Aws:
        """AWS as this provider; close it."""
        return open_cloud(self.config, self.provider, self.clock)

    async def head(self) -> BlockRef:
        """The newest block; what a command reads is read at one."""
        return (await HeadTracker(self.endpoints, finality_of(self.config)).poll()).block

    async def transactions(self, record: TransactionLog) -> Transactions:
        """Over the agent's own record, so that both keep to one sequence of nonces."""
        return Transactions(
            self.endpoints,
            await open_signer(self.config),
            record,
            self.clock,
            policy=fees_of(self.config),
            finality=finality_of(self.config),
            patience=patience_of(self.config),
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What most commands want to know of the market at one block."""

    at: BlockRef
    params: RegistryTerms
    stake: Stake
    pond: Token
    money: Token


async def terms_of(desk: Desk) -> Terms:
    """Parameters, stake and tokens at the head."""
    at = await desk.head()
    params = await desk.market.params(at)
    pond, money = await desk.market.tokens(at)
    return Terms(at, params, await desk.market.stake_of(desk.provider, at), pond, money)


@asynccontextmanager
async def open_desk(config: Path | Config | None, of: str = "registry") -> AsyncIterator[Desk]:
    """The configured market, which must be the one that the command is `of`, if it is of one.
    Raises what opening it raises, each with what to do."""
    loaded = config if isinstance(config, Config) else load(config)
    if of and loaded.chain.market != of:
        raise UsageFault(ONLY_OF[of])
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        provider = await provider_address(loaded)
        endpoints = await open_endpoints(loaded, clock)
        stack.push_async_callback(endpoints.close)
        yield Desk(loaded, clock, endpoints, provider)


def at_desk(
    config: Path | None, work: Callable[[Desk], Coroutine[Any, Any, T]], *, of: str = "registry"
) -> T:
    """Run `work` at the desk. What another node might answer leaves as RetryLater."""

    async def run() -> T:
        async with open_desk(config, of) as desk:
            return await work(desk)

    quiet()
    try:
        return asyncio.run(run())
    except TryElsewhere as fault:
        raise RetryLater(str(fault)) from fault


def open_cloud(config: Config, provider: str, clock: SystemClock) -> Aws:
    """AWS for reading; it launches nothing, so no host boots with its empty user data."""
    from cloud.aws import Aws

    settings = cloud_settings(config, provider)
    return Aws(settings, lambda _order, _home: b"", clock, config.aws.endpoint_url)


def quiet() -> None:
    """Commands speak through their own output; the agent's log events are for its service."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
