"""Puts the real adapters together: from a configuration to an agent that can run.

Everything that can be wrong is found out here, before READY: chain ids that differ, a contract
that is not there, a key that does not open, AWS that is not set up, a journal that does not open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from agent.apply.attester import HttpAttester
from agent.apply.clock_by_aws import ClockByAws
from agent.apply.context import World
from agent.apply.listings import Offering
from agent.apply.pricing import Pricing
from agent.chain.events import EventReader
from agent.config import Config
from agent.decide.deadline import Learner
from agent.journal.reading import Restore
from agent.load.costs import CostBook
from agent.load.fault_claims import FaultClaims
from agent.load.fleet import Fleet
from agent.load.loader import Sources
from agent.load.remembered import Memory
from agent.loop.leading import Leadership
from agent.loop.restore import restored
from agent.loop.service import Agent
from agent.loop.state import LoopState
from agent.ports import Clock
from agent.wiring.adapters import offered_prices, open_wallet, provider_of
from agent.wiring.alike import alike_of
from agent.wiring.cards import card_files
from agent.wiring.chain import open_chain, transactor_of
from agent.wiring.costs import price_rules, pricing_of, starting_prices, told_costs
from agent.wiring.images import open_images
from agent.wiring.journal import open_journal
from agent.wiring.markets import AnyMarket, ask_for
from agent.wiring.parts import Parts, open_parts
from agent.wiring.rules import attestation_rules_of, offer_rules_of, rules_of
from agent.wiring.watching import history_of, reader_of, wakes_of
from agent.wiring.wired import CardBook, Loaded, Wired
from program import version


@asynccontextmanager
async def wired(config: Config, clock: Clock | None = None) -> AsyncIterator[Wired]:
    """An agent over the real world, closed at the end; a clock by AWS is told AWS's time. Raises
    what `faults` names."""
    clock = clock or ClockByAws()
    async with AsyncExitStack() as stack:
        signer = await open_wallet(config)
        provider = provider_of(config, signer)
        opened = await asyncio.to_thread(open_journal, config, provider, version(), stack)
        chain = await open_chain(config, signer, opened, clock, stack)
        parts = await open_parts(config, chain, opened, clock, stack)
        yield await _put_together(parts, stack)


async def _put_together(parts: Parts, stack: AsyncExitStack) -> Wired:
    config, chain, clock, opened = parts.config, parts.chain, parts.clock, parts.opened
    leadership = Leadership(opened.kept)
    world = _world(parts, leadership, stack)
    events = reader_of(config, chain, parts.watched, parts.watched.topics)
    wakes = wakes_of(config, chain, clock, events)
    stack.push_async_callback(wakes.close)  # before the endpoints that it reads through
    costs, cards, loaded = _costs(parts), CardBook(card_files(config)), Loaded(config)
    told = [costs.restore, *parts.watched.restores]
    await restored(opened.restoring, opened.reader, told)
    offering = await _offering(parts, world, costs, cards)
    state = _state(parts, world, leadership, offering, costs, told)
    _tell_of_prices(state, chain.market, loaded)
    claims = _claims(parts, state, events)
    alike = alike_of(opened, lambda: loaded.config)
    if opened.kept is not None:
        opened.kept.start()
    return Wired(
        agent=Agent(state, wakes),
        state=state,
        chain=chain,
        config=config,
        regions=parts.regions,
        aws=parts.aws,
        history=history_of(config, chain, parts.watched, opened, clock, claims),
        loaded=loaded,
        costs=costs,
        cards=cards,
        earnings=parts.watched.earnings,
        kept=opened.kept,
        alike=alike,
    )


def _world(parts: Parts, leadership: Leadership, stack: AsyncExitStack) -> World:
    return World(
        cloud=parts.aws,
        mailbox=parts.aws.mailbox,
        images=open_images(parts.config, parts.clock, stack),
        attester=HttpAttester(attestation_rules_of(parts.config)),
        transactor=transactor_of(parts.chain, parts.clock),
        clock=parts.clock,
        journal=parts.opened.journal,
        memory=Memory(),
        fleet=Fleet(parts.aws, parts.aws.mailbox, parts.clock, parts.account),
        learner=Learner(),
        lease=leadership.lease,
    )


def _costs(parts: Parts) -> CostBook:
    told, note = told_costs(parts.config, parts.decimals), parts.opened.journal.event
    return CostBook(parts.aws.prices, parts.chain.payment, parts.clock, note, told)


async def _offering(parts: Parts, world: World, costs: CostBook, cards: CardBook) -> Offering:
    """What is on offer at the start. Raises RetryLater: a price by rule has no cost yet."""
    config, market, decimals = parts.config, parts.market, parts.decimals
    by_rule = await starting_prices(price_rules(config, decimals), costs, market.abilities)
    prices = {**offered_prices(config, decimals), **by_rule}
    rules = offer_rules_of(config)
    offering = Offering(
        market, parts.aws, world.transactor, parts.clock, world.journal, prices, rules, world.fleet
    )
    offering.bulk = cards.files.bulk()
    offering.began_after = parts.opened.last_order
    ask_for(parts.chain.market, offering.asks, config)
    return offering


def _state(
    parts: Parts,
    world: World,
    leadership: Leadership,
    offering: Offering,
    costs: CostBook,
    told: list[Restore],
) -> LoopState:
    opened = parts.opened
    return LoopState(
        _sources(parts, world),
        world,
        opened.reader,
        offering,
        rules_of(parts.config, parts.decimals),
        leadership,
        aside=opened.aside,
        restoring=opened.restoring,
        told_elsewhere=told,
        pricing=_pricing(parts, offering, costs),
    )


def _sources(parts: Parts, world: World) -> Sources:
    return Sources(
        parts.account,
        parts.market,
        parts.witness,
        parts.aws,
        world.fleet,
        world.memory,
        parts.clock,
        parts.regions,
    )


def _pricing(parts: Parts, offering: Offering, costs: CostBook) -> Pricing:
    journal = parts.opened.journal
    return pricing_of(
        parts.config,
        parts.decimals,
        parts.market,
        offering,
        parts.clock,
        journal,
        costs,
        parts.witness,
    )


def _tell_of_prices(state: LoopState, market: AnyMarket, loaded: Loaded) -> None:
    """The prices of the start, and each that a rule asks later."""
    state.repriced()
    if state.pricing is not None:
        state.pricing.on_change = partial(_repriced, state, market, loaded)


def _repriced(state: LoopState, market: AnyMarket, loaded: Loaded) -> None:
    """A rule asks another price: for whoever judges jobs, and for the market's own arithmetic."""
    ask_for(market, state.offering.asks, loaded.config)
    state.repriced()


def _claims(parts: Parts, state: LoopState, events: EventReader) -> FaultClaims:
    """Auditors' reports, by as many endpoints as tell of them."""
    note, count = parts.opened.journal.event, parts.chain.endpoints.count
    memory, wake = state.world.memory, state.agenda.wake
    claims = FaultClaims(memory, parts.watched.vote_of, parts.clock, note, wake, count)
    parts.endpoints_apart.heard = claims.heard
    if parts.witness is None:
        events.heard = partial(claims.heard, "")
    return claims
