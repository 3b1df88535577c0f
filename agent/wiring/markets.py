"""Which market is served: the one place that knows their names.

Everything above and below takes what stands here: reads, calls, events and the provider's view of
a market as values and protocols, and asks `Abilities` where markets differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from agent import ports
from agent.chain.endpoints import Endpoints
from agent.chain.events import Log
from agent.chain.head import HeadTracker
from agent.config import Config
from agent.load.slashes import Slashes
from agent.market.model import Address, BlockRef, JobId, Price
from agent.markets.marketv1.adapter import ProviderMarketV1
from agent.markets.marketv1.calls import Calls as MarketV1Calls
from agent.markets.marketv1.reads import Market as MarketV1
from agent.markets.marketv1.reads import job_topics as marketv1_topics
from agent.markets.marketv1.reads import jobs_in
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.registry.adapter import ProviderMarket
from agent.markets.registry.calls import Calls as RegistryCalls
from agent.markets.registry.reads import Market as Registry
from agent.markets.registry.reads import job_topics as registry_topics
from agent.markets.token import Token
from agent.markets.transactor import OrderCalls
from agent.wiring.adapters import contract_of

AnyMarket = Registry | MarketV1
JobsIn = Callable[[Sequence[Log]], Collection[JobId]]


def market_of(config: Config, endpoints: Endpoints) -> AnyMarket:
    """Reads of the configured market."""
    if config.chain.market == "marketv1":
        return MarketV1(endpoints, contract_of(config), MarketV1Terms())
    return Registry(endpoints, contract_of(config))


async def tokens_of(market: AnyMarket, at: BlockRef) -> tuple[Token, Token | None]:
    """What jobs are paid in, and what is staked, where something is. Raises MustStop: the contract
    is of a form that is not known here."""
    if isinstance(market, MarketV1):
        await market.check(at)
        return await market.payment_token(at), None
    pond, payment = await market.tokens(at)
    return payment, pond


def ask_for(market: AnyMarket, prices: Mapping[str, Price], config: Config) -> None:
    """Have the market's terms go by these prices, where prices are this provider's own word."""
    if isinstance(market, MarketV1):
        market.own_terms = MarketV1Terms(prices, int(config.jobs.stop_before_dry_seconds))


def provider_view(market: AnyMarket, tracker: HeadTracker, provider: Address) -> ports.Market:
    """What the agent's core asks."""
    if isinstance(market, MarketV1):
        return ProviderMarketV1(market, tracker, provider)
    return ProviderMarket(market, tracker, provider)


def calls_of(market: AnyMarket) -> OrderCalls:
    """What the agent's orders call."""
    if isinstance(market, MarketV1):
        return MarketV1Calls(market.contract)
    return RegistryCalls(market.contract)


def events_of(
    market: AnyMarket, provider: Address, slashes: Slashes
) -> tuple[Sequence[str], JobsIn]:
    """The topics of events about jobs, and which jobs of the provider logs of them name."""
    if isinstance(market, MarketV1):
        return marketv1_topics(), partial(jobs_in, provider=provider, ours=market.seen.ours)
    return registry_topics(), slashes.jobs_in
