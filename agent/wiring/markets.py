"""Which market is served: the one place that knows their names.

Everything above and below takes what stands here: reads, calls, events and the provider's view of
a market as values and protocols, and asks `Abilities` where markets differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from agent import ports
from agent.chain.events import Log
from agent.chain.head import HeadTracker
from agent.chain.rpc import Reader as Node
from agent.config import Config
from agent.history.earnings import EARNINGS_READ, Earnings, settled_topic
from agent.history.slashes import READ as SLASHES_READ
from agent.history.slashes import Slashes, slash_topic
from agent.journal.lines import Event
from agent.journal.reading import Put, Reader, Restore
from agent.load.agreements import agreed_rates
from agent.load.fault_claims import VoteOf
from agent.market.model import Address, BlockRef, JobId, Price
from agent.market.terms import Abilities
from agent.markets.marketv1 import shape
from agent.markets.marketv1.adapter import ProviderMarketV1
from agent.markets.marketv1.calls import Calls as MarketV1Calls
from agent.markets.marketv1.reads import Market as MarketV1
from agent.markets.marketv1.reads import job_topics as marketv1_topics
from agent.markets.marketv1.seen import Seen
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.registry.adapter import ProviderMarket
from agent.markets.registry.calls import Calls as RegistryCalls
from agent.markets.registry.reads import Market as Registry
from agent.markets.registry.reads import fault_topic, fault_vote
from agent.markets.registry.reads import job_topics as registry_topics
from agent.markets.registry.terms import RegistryTerms
from agent.markets.token import Token
from agent.markets.transactor import OrderCalls
from agent.wiring.adapters import contract_of, known_deployment

log = structlog.get_logger()

AnyMarket = Registry | MarketV1
JobsIn = Callable[[Sequence[Log]], Collection[JobId]]


def market_of(config: Config, node: Node) -> AnyMarket:
    """Reads of the configured market."""
    if config.chain.market == "marketv1":
        return MarketV1(node, contract_of(config), MarketV1Terms())
    return Registry(node, contract_of(config))


def abilities_of(config: Config) -> Abilities:
    """What the configured market has, before anybody is asked."""
    found = MarketV1Terms if config.chain.market == "marketv1" else RegistryTerms
    return found.abilities


async def form_of(
    market: AnyMarket, config: Config, at: BlockRef
) -> tuple[Token, Token | None, Sequence[str]]:
    """What jobs are paid in, what is staked, where something is, and what is not as it was known.
    Raises MustStop: the contract is of a form that is not known here; RetryLater: the node has not
    caught up."""
    if isinstance(market, MarketV1):
        token, odd = await shape.check(market, known_deployment(config), at)
        return token, None, odd
    pond, payment = await market.tokens(at)
    return payment, pond, ()


async def tokens_of(market: AnyMarket, config: Config, at: BlockRef) -> tuple[Token, Token | None]:
    """What jobs are paid in, and what is staked. Raises as `form_of`, and says what is odd."""
    payment, pond, odd = await form_of(market, config, at)
    for text in odd:
        log.warning("market.unknown", text=f"{text}; see that its terms are still the same")
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


def memory_of_ids(market: AnyMarket) -> Seen | None:
    """What is remembered of ids; None where the contract itself lists a provider's jobs."""
    return market.seen if isinstance(market, MarketV1) else None


def calls_of(market: AnyMarket) -> OrderCalls:
    """What the agent's orders call."""
    if isinstance(market, MarketV1):
        return MarketV1Calls(market.contract)
    return RegistryCalls(market.contract)


@dataclass(frozen=True, slots=True)
class Events:
    """What a market's logs say to this provider's agent.

    `topics` are of the events about jobs, and `jobs_in` names the jobs of ours in logs of them.
    `history` is the one event of which those are read too that came while no agent ran, and the
    line that says how far; `earnings` are told by events where the contract keeps no sum.
    """

    topics: Sequence[str]
    jobs_in: JobsIn
    history: tuple[str, str]
    earnings: Earnings | None = None
    restores: Sequence[Restore] = ()  # what the journal has was told already
    vote_of: VoteOf = lambda log: None  # an auditor's report, where the market has them
    vote_topic: str = ""  # of those; empty: it has none


def events_of(
    market: AnyMarket,
    provider: Address,
    clock: ports.Clock,
    tell: Callable[[Event], None],
    staked: tuple[str, int] | tuple[()] = (),
) -> Events:
    """What to watch."""
    if isinstance(market, MarketV1):
        earnings = Earnings(provider, market.seen.ours, clock, tell)
        taken = market.seen.taken

        def rates(reader: Reader) -> Put:
            return partial(taken.update, agreed_rates(reader))

        history, told = (settled_topic(), EARNINGS_READ), (earnings.restore, rates)
        return Events(marketv1_topics(), earnings.jobs_in, history, earnings, told)
    slashes = Slashes(provider, clock, tell, *staked)
    topics, history = registry_topics(), (slash_topic(), SLASHES_READ)
    known = (slashes.restore,)
    return Events(
        topics, slashes.jobs_in, history, None, known, vote_of=fault_vote, vote_topic=fault_topic()
    )
