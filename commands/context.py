"""What a command needs of the world, opened when it is first asked for and closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.chain.endpoints import Endpoints
from agent.chain.head import HeadTracker
from agent.chain.transaction_log import TransactionStore
from agent.chain.transactions import Transactions
from agent.clock import SystemClock
from agent.config import Config, load
from agent.market.model import Address, BlockRef, Wei
from agent.market.terms import Abilities
from agent.market.terms import Terms as AnyTerms
from agent.markets.marketv1.reads import Market as MarketV1
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market, Stake
from agent.markets.registry.terms import RegistryTerms
from agent.markets.token import Holdings, Token
from agent.wiring.adapters import (
    cloud_settings,
    contract_of,
    fees_of,
    finality_of,
    offered_prices,
    open_endpoints,
    open_signer,
    patience_of,
    provider_address,
)
from agent.wiring.cards import all_prices
from agent.wiring.markets import AnyMarket, abilities_of, ask_for, market_of
from commands.terminal import slow
from faults import RetryLater, TryElsewhere, UsageFault

if TYPE_CHECKING:
    from cloud.aws import Aws

T = TypeVar("T")


class Need(StrEnum):
    """What of a market a command can't do without."""

    STAKE = "a stake"
    OFFERS = "offers on the chain"
    EXIT = "exits"
    CARDS = "rate cards at a URL"

    def met_by(self, can: Abilities) -> bool:
        found = {
            Need.STAKE: can.has_stake,
            Need.OFFERS: can.lists_on_chain,
            Need.EXIT: can.can_exit,
            Need.CARDS: not can.lists_on_chain,
        }
        return found[self]


# Why a command says no on a market that has not what it needs.
LACKS = {
    Need.STAKE: "this market has no stake: whoever opens a job names the provider, and none is "
    "locked for it",
    Need.OFFERS: "this market lists no offers on its chain: types and prices are [[offers]] in the "
    "configuration, shown as rate cards at the URL of `oyster-provider provider add`",
    Need.EXIT: "this market has no exit: `oyster-provider pause` takes no new jobs, `provider "
    "remove` takes the URL off the list, and what runs is served until its user or its money ends",
    Need.CARDS: "this market lists offers on its chain, not at a provider's URL: "
    "see `oyster-provider offers --help`",
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
    def reads(self) -> AnyMarket:
        """The market, by what any market can be asked."""
        return market_of(self.config, self.endpoints)

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

    async def transactions(self, record: TransactionStore) -> Transactions:
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
class Standing:
    """What any market says at one block of its terms, and of what this provider has there."""

    at: BlockRef
    terms: AnyTerms
    holdings: Holdings

    @property
    def abilities(self) -> Abilities:
        return self.terms.abilities

    @property
    def money(self) -> Token:
        """What jobs are paid in."""
        return self.holdings.payment


async def standing_of(desk: Desk) -> Standing:
    """At the head, by the prices of the configuration."""
    at = await desk.head()
    held = await desk.reads.holdings(desk.provider, at)
    offered = offered_prices(desk.config, held.payment.decimals)
    ask_for(desk.reads, all_prices(desk.config, offered), desk.config)
    return Standing(at, await desk.reads.terms(at), held)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the commands of a market with a stake want to know of it at one block."""

    at: BlockRef
    params: RegistryTerms
    stake: Stake
    pond: Token
    money: Token

    def staked(self, total: int) -> Terms:
        """The same once at least so much is staked."""
        more = max(self.stake.total, Wei(total))
        return replace(self, stake=replace(self.stake, total=more))


async def terms_of(desk: Desk) -> Terms:
    """Parameters, stake and tokens at the head."""
    at = await desk.head()
    params = await desk.market.params(at)
    pond, money = await desk.market.tokens(at)
    return Terms(at, params, await desk.market.stake_of(desk.provider, at), pond, money)


def require(config: Config, needs: Iterable[Need]) -> None:
    """Raises UsageFault: the configured market has not what the command needs."""
    can = abilities_of(config)
    for need in needs:
        if not need.met_by(can):
            raise UsageFault(LACKS[need])


@asynccontextmanager
async def open_desk(config: Path | Config | None, *needs: Need) -> AsyncIterator[Desk]:
    """The configured market, which must have what the command needs. Raises what opening it raises,
    each with what to do."""
    loaded = config if isinstance(config, Config) else load(config)
    require(loaded, needs)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        provider = await provider_address(loaded)
        endpoints = await open_endpoints(loaded, clock)
        stack.push_async_callback(endpoints.close)
        yield Desk(loaded, clock, endpoints, provider)


def at_desk(
    config: Path | Config | None, work: Callable[[Desk], Coroutine[Any, Any, T]], *needs: Need
) -> T:
    """Run `work` at the desk. What another node might answer leaves as RetryLater."""

    async def run() -> T:
        async with open_desk(config, *needs) as desk:
            return await work(desk)

    quiet()
    try:
        with slow("asking chain and AWS"):
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
