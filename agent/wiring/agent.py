"""Puts the real adapters together: from a configuration to an agent that can run.

Everything that can be wrong is found out here, before READY: chain ids that differ, a contract
that is not there, a key that does not open, AWS that is not set up, a journal that does not open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from agent.apply.attester import HttpAttester
from agent.apply.clock_by_aws import ClockByAws
from agent.apply.context import World
from agent.apply.image_store import StoredImages
from agent.apply.listings import Offering
from agent.chain.endpoints import Endpoints
from agent.chain.events import EventReader
from agent.chain.head import HeadFollower, HeadTracker, Pace
from agent.chain.transactions import Transactions
from agent.chain.wallet import Signer
from agent.config import Config
from agent.config.compare import RELOADED
from agent.decide.deadline import Learner
from agent.history.earnings import Earnings
from agent.history.faults import FaultHistory
from agent.history.slashes import SlashHistory
from agent.journal.lease import ServerLease
from agent.load.costs import CostBook
from agent.load.fault_claims import FaultClaims
from agent.load.fleet import Fleet
from agent.load.left_regions import check_regions
from agent.load.loader import Sources
from agent.load.remembered import Memory
from agent.loop.leading import Leadership
from agent.loop.restore import restored
from agent.loop.service import Agent
from agent.loop.state import LoopState
from agent.markets.second_endpoint import SecondEndpoint
from agent.markets.token import Token
from agent.markets.transactor import MarketTransactor, NoTransactor
from agent.markets.wakes import ChainWakes
from agent.ports import Account, Clock, Transactor
from agent.wiring.adapters import (
    cloud_settings,
    fees_of,
    finality_of,
    image_sources,
    offered_prices,
    open_endpoints,
    open_wallet,
    patience_of,
    provider_of,
)
from agent.wiring.alike import Alike, alike_of
from agent.wiring.cards import CardFiles, card_files
from agent.wiring.costs import (
    price_rules,
    pricing_of,
    pricing_rules_of,
    starting_prices,
    told_costs,
)
from agent.wiring.journal import OpenJournal, open_journal
from agent.wiring.markets import (
    AnyMarket,
    Events,
    abilities_of,
    ask_for,
    calls_of,
    events_of,
    market_of,
    provider_view,
    tokens_of,
)
from agent.wiring.rules import attestation_rules_of, offer_rules_of, rules_of
from cloud import layout
from cloud.aws import Aws
from cloud.model import LaunchOrder, Region
from cloud.settings import Home
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import ImageFetcher
from enclave.fetch.store import ImageStore
from enclave.host import bundle, userdata
from enclave.host.config import Config as HostConfig
from faults import RetryLater, TryElsewhere, UsageFault
from program import version


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything that speaks JSON-RPC for one provider."""

    endpoints: Endpoints
    tracker: HeadTracker
    followed: HeadTracker  # polled all the time, jobs or not
    market: AnyMarket
    signer: Signer | None  # without a key nothing is sent
    transactions: Transactions | None
    payment: Token
    pond: Token | None  # what is staked


@dataclass(slots=True)
class CardBook:
    """Rate cards of files, for whoever shows them; a reload reads them anew."""

    files: CardFiles


@dataclass(slots=True)
class Loaded:
    """What runs: the configuration of the start, with what reloads took up since."""

    config: Config

    def take(self, config: Config) -> None:
        """What a reload takes up, and no more."""
        fresh = {name: getattr(config, name) for name in RELOADED}
        self.config = replace(self.config, **fresh)


@dataclass(frozen=True, slots=True)
class Wired:
    """The agent and what the service shows and reloads beside it."""

    agent: Agent
    state: LoopState
    chain: Chain
    config: Config
    regions: tuple[Region, ...]
    aws: Aws
    history: SlashHistory  # of what events alone tell, in blocks that nobody watched
    loaded: Loaded
    costs: CostBook
    cards: CardBook
    earnings: Earnings | None = None
    kept: ServerLease | None = None
    alike: Alike | None = None  # where there are several hosts

    def reload(self, config: Config) -> None:
        """Policy, prices, deadlines and cadences; chain, wallet and AWS need a restart."""
        decimals, pricing = self.chain.payment.decimals, self.state.pricing
        files = card_files(config)
        self.costs.told = told_costs(config, decimals)
        kept = (
            pricing.take(price_rules(config, decimals), pricing_rules_of(config)) if pricing else {}
        )
        self.state.offering.prices = {**offered_prices(config, decimals), **kept}
        self.cards.files, self.state.offering.bulk = files, files.bulk()
        ask_for(self.chain.market, self.state.offering.asks, config)
        self.state.offering.rules = offer_rules_of(config)
        rules = rules_of(config, decimals)
        policy = replace(
            rules.lifecycle.policy,
            regions=frozenset(self.regions),
            prices=self.state.offering.asks,
        )
        self.state.take(replace(rules, lifecycle=replace(rules.lifecycle, policy=policy)))
        self.loaded.take(config)
        if self.alike is not None:
            self.alike.reloaded()


@asynccontextmanager
async def wired(config: Config, clock: Clock | None = None) -> AsyncIterator[Wired]:
    """An agent over the real world, closed at the end; a clock by AWS is told AWS's time. Raises
    what `faults` names."""
    clock = clock or ClockByAws()
    async with AsyncExitStack() as stack:
        signer = await open_wallet(config)
        provider = provider_of(config, signer)
        opened = await asyncio.to_thread(open_journal, config, provider, version(), stack)
        chain = await _open_chain(config, signer, opened, clock, stack)
        yield await _wire(config, chain, opened, clock, stack)


async def _open_chain(
    config: Config, signer: Signer | None, opened: OpenJournal, clock: Clock, stack: AsyncExitStack
) -> Chain:
    endpoints = await open_endpoints(config, clock)
    stack.push_async_callback(endpoints.close)
    finality = finality_of(config)
    tracker = HeadTracker(endpoints, finality)
    market = market_of(config, endpoints)
    try:
        head = await tracker.poll()
        payment, pond = await tokens_of(market, config, head.block)
    except TryElsewhere as fault:
        raise RetryLater(f"the market can't be read: {fault}") from fault
    transactions = _transactions(config, endpoints, signer, opened, clock)
    followed = HeadTracker(endpoints, finality)
    return Chain(endpoints, tracker, followed, market, signer, transactions, payment, pond)


def _transactions(
    config: Config, endpoints: Endpoints, signer: Signer | None, opened: OpenJournal, clock: Clock
) -> Transactions | None:
    if signer is None:
        return None
    return Transactions(
        endpoints, signer, opened.record, clock,
        policy=fees_of(config),
        finality=finality_of(config),
        patience=patience_of(config),
        aside=opened.recording,
    )  # fmt: skip


async def _wire(
    config: Config,
    chain: Chain,
    opened: OpenJournal,
    clock: Clock,
    stack: AsyncExitStack,
) -> Wired:
    journal, reader, leadership = opened.journal, opened.reader, Leadership(opened.kept)
    account = Account(
        chain.endpoints.chain_id, chain.market.contract, provider_of(config, chain.signer)
    )
    regions = tuple(Region(name) for name in config.aws.regions)
    aws = await _open_cloud(config, account, opened, regions, clock, stack)
    market = provider_view(chain.market, chain.tracker, account.provider)
    signs = chain.signer.address if chain.signer else None
    if market.abilities.reports_start and account.provider != signs:
        text = f"chain.provider is {account.provider}, the wallet's account {signs}"
        raise UsageFault(f"{text}: on this market the provider itself has to sign; leave it out")
    staked = (chain.pond.symbol, chain.pond.decimals) if chain.pond else ()
    watched = events_of(chain.market, account.provider, clock, journal.event, staked)
    witness = SecondEndpoint(
        chain.market, chain.endpoints, account.provider, finality_of(config), watched.jobs_in
    )
    transactor = _transactor(chain, clock)
    world = World(
        cloud=aws,
        mailbox=aws.mailbox,
        images=open_images(config, clock, stack),
        attester=HttpAttester(attestation_rules_of(config)),
        transactor=transactor,
        clock=clock,
        journal=journal,
        memory=Memory(),
        fleet=Fleet(aws, aws.mailbox, clock, account),
        learner=Learner(),
        lease=leadership.lease,
    )
    events = _reader_of(config, chain, watched, watched.topics)
    wakes = _wakes(config, chain, clock, events)
    stack.push_async_callback(wakes.close)  # before the endpoints that it reads through
    decimals = chain.payment.decimals
    costs = CostBook(aws.prices, chain.payment, clock, journal.event, told_costs(config, decimals))
    told = [costs.restore, *watched.restores]
    await restored(opened.restoring, reader, told)
    by_rule = await starting_prices(price_rules(config, decimals), costs, market.abilities)
    prices = {**offered_prices(config, decimals), **by_rule}
    book = CardBook(card_files(config))
    heard = witness if chain.endpoints.count > 1 else None
    offering = Offering(
        market, aws, transactor, clock, journal, prices, offer_rules_of(config), world.fleet
    )
    offering.bulk = book.files.bulk()
    ask_for(chain.market, offering.asks, config)
    offering.began_after = opened.last_order
    pricing = pricing_of(config, decimals, market, offering, clock, journal, costs, heard)
    state = LoopState(
        Sources(account, market, heard, aws, world.fleet, world.memory, clock, regions),
        world,
        reader,
        offering,
        rules_of(config, decimals),
        leadership,
        opened.aside,
        opened.restoring,
        told,
        pricing=pricing,
    )
    state.repriced()
    claims = FaultClaims(
        world.memory, watched.vote_of, clock, journal.event, state.agenda.wake,
        chain.endpoints.count,
    )  # fmt: skip
    witness.heard = claims.heard
    if heard is None:
        events.heard = partial(claims.heard, "")
    loaded = Loaded(config)
    pricing.on_change = partial(_repriced, state, chain.market, loaded)
    alike = alike_of(opened, lambda: loaded.config)
    if opened.kept is not None:
        opened.kept.start()
    history = _history(config, chain, watched, opened, clock, claims)
    wired = Agent(state, wakes), state, chain, config, regions, aws, history, loaded, costs, book
    return Wired(*wired, watched.earnings, opened.kept, alike)


def _repriced(state: LoopState, market: AnyMarket, loaded: Loaded) -> None:
    """A rule asks another price: for whoever judges jobs, and for the market's own arithmetic."""
    ask_for(market, state.offering.asks, loaded.config)
    state.repriced()


def _transactor(chain: Chain, clock: Clock) -> Transactor:
    if chain.transactions is None:
        return NoTransactor()
    return MarketTransactor(chain.transactions, calls_of(chain.market), clock)


def _reader_of(config: Config, chain: Chain, watched: Events, topics: Sequence[str]) -> EventReader:
    return EventReader(
        chain.endpoints,
        chain.market.contract,
        topics,
        watched.jobs_in,
        config.chain.log_range_blocks,
    )


def _history(
    config: Config,
    chain: Chain,
    watched: Events,
    opened: OpenJournal,
    clock: Clock,
    claims: FaultClaims,
) -> SlashHistory:
    """Of what events alone tell: slashes and auditors' reports, or what was paid."""
    topic, noted_as = watched.history
    tracker = HeadTracker(chain.endpoints, finality_of(config))
    events = _reader_of(config, chain, watched, [topic])
    kept = (opened.journal, clock, noted_as, opened.aside)
    if not watched.vote_topic:
        return SlashHistory(events, tracker, *kept)
    blocks = config.chain.log_range_blocks
    contract, topic = chain.market.contract, watched.vote_topic
    faults = FaultHistory(chain.endpoints, contract, topic, claims, blocks)
    return SlashHistory(events, tracker, *kept, also=faults.read)


def _wakes(config: Config, chain: Chain, clock: Clock, events: EventReader) -> ChainWakes:
    settings = config.chain
    sockets = [settings.ws_url.reveal()] if settings.ws_url else []
    follower = HeadFollower(chain.followed, clock, Pace(poll=settings.poll_seconds), sockets)
    return ChainWakes(follower, events)


async def _open_cloud(
    config: Config,
    account: Account,
    opened: OpenJournal,
    regions: tuple[Region, ...],
    clock: Clock,
    stack: AsyncExitStack,
) -> Aws:
    """AWS with the host program in every region's bucket. Raises NotSetUp, NotAllowed,
    MustStop (something lives in a region that is not configured any more)."""
    settings = cloud_settings(config, account.provider)
    program = await asyncio.to_thread(bundle.build)
    digest = bundle.digest(program)
    endpoint = config.aws.endpoint_url or None
    aws = Aws(settings, partial(user_data, digest), clock, endpoint, opened.spots)
    stack.callback(aws.close)
    if isinstance(clock, ClockByAws):
        clock.ahead = aws.clock_ahead
    await check_regions(opened.reader, aws, regions, clock.now())
    await asyncio.gather(*(aws.mailbox.publish_program(region, program) for region in regions))
    await asyncio.gather(*(aws.mailbox.alone(region) for region in regions))  # signs in
    return aws


def user_data(digest: str, order: LaunchOrder, home: Home) -> bytes:
    """What an instance boots with: the same bytes for every instance of a region and version."""
    return _script(digest, home)


@lru_cache(maxsize=64)  # regions
def _script(digest: str, home: Home) -> bytes:
    host = HostConfig(
        region=home.region,
        bucket=home.bucket,
        host_prefix=home.host_prefix,
        program_key=layout.program_key(digest),
        program_sha256=digest,
    )
    return userdata.render(host).encode()


def open_images(config: Config, clock: Clock, stack: AsyncExitStack) -> StoredImages:
    """Retrieval and store, by the configuration."""
    images = config.images
    reach = Reach(
        sources=image_sources(config),
        allowed_hosts=frozenset(images.allowed_hosts),
        open_urls=abilities_of(config).open_urls,
    )
    limits = FetchLimits(max_bytes=images.max_size_bytes, stall_seconds=images.stall_seconds)
    store = ImageStore(Path(config.image_store), quota_bytes=images.quota_bytes)
    fetcher = ImageFetcher(store, reach, limits)
    stack.push_async_callback(fetcher.close)
    return StoredImages(fetcher, clock)
