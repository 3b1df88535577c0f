"""The agent as a process that can be killed: its own code over the ports of a model world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from agent.apply.context import Hook, World
from agent.apply.listings import Offering
from agent.decide.deadline import Learner
from agent.decide.listings import OfferRules
from agent.journal.hosts import Lease
from agent.journal.lines import Event
from agent.journal.reading import Reader
from agent.load.fleet import Fleet
from agent.load.loader import Sources
from agent.load.remembered import JobMemory, Memory
from agent.loop.leading import Leadership
from agent.loop.service import Agent
from agent.loop.state import LoopState, Rules
from agent.market.model import JobId
from agent.ports import (
    Account,
    Attester,
    Clock,
    Cloud,
    Images,
    Mailbox,
    Market,
    Transactor,
    Wakes,
    Witness,
)
from cloud.model import Region
from devnet.simulation.hosts import SimLease
from devnet.simulation.world import MortalJournal


@dataclass(frozen=True)
class ChainSide:
    """The chain as the agent meets it."""

    market: Market
    wakes: Wakes
    transactor: Transactor
    witness: Witness | None


@dataclass(frozen=True)
class Rest:
    """Everything outside of the agent but the chain."""

    account: Account
    cloud: Cloud
    mailbox: Mailbox
    attester: Attester
    images: Images
    clock: Clock
    regions: tuple[Region, ...]


class HeardJournal(MortalJournal):
    """Tells what the agent says of itself, too."""

    def __init__(
        self, engine: sa.Engine, hear: Callable[[Event], None], lease: Lease | None = None
    ) -> None:
        super().__init__(engine, lease)
        self._hear = hear

    def event(self, event: Event) -> None:
        if not self.dead:
            self._hear(event)
        super().event(event)


@dataclass(frozen=True)
class Manner:
    """How an agent is to be run: its journal's file, its rules, and who listens."""

    engine: sa.Engine
    rules: Rules
    offers: OfferRules
    hook: Hook
    hear: Callable[[Event], None]
    kept: SimLease | None = None  # None: one host, which always leads


def assemble(rest: Rest, chain: ChainSide, journal: HeardJournal, manner: Manner) -> LoopState:
    """The agent's own parts over these ports."""
    memory, clock, rules = Memory(), rest.clock, manner.rules
    fleet = Fleet(rest.cloud, rest.mailbox, clock, rest.account)
    leadership = Leadership(manner.kept)
    world = World(
        cloud=rest.cloud,
        mailbox=rest.mailbox,
        images=rest.images,
        attester=rest.attester,
        transactor=chain.transactor,
        clock=clock,
        journal=journal,
        memory=memory,
        fleet=fleet,
        learner=Learner(),
        hook=manner.hook,
        lease=leadership.lease,
    )
    sources = Sources(
        rest.account, chain.market, chain.witness, rest.cloud, fleet, memory, clock,
        rest.regions,
    )  # fmt: skip
    offering = Offering(
        chain.market, rest.cloud, chain.transactor, clock, journal,
        rules.lifecycle.policy.prices, manner.offers, fleet,
    )  # fmt: skip
    return LoopState(sources, world, Reader(manner.engine), offering, rules, leadership)


class Life:
    """One life of the agent, from `exec` to its end. Nothing in memory comes from before."""

    task: asyncio.Task[None]

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.journal = HeardJournal(manner.engine, manner.hear, manner.kept)
        self.agent: Agent | None = None
        self.state: LoopState | None = None

    @property
    def alive(self) -> bool:
        return not self.task.done()

    @property
    def held_jobs(self) -> frozenset[JobId]:
        """Whose termination waits for somebody."""
        return self.state.held_jobs if self.state else frozenset()

    @property
    def memory(self) -> Mapping[JobId, JobMemory]:
        """The jobs that the agent remembers."""
        return self.state.world.memory.jobs if self.state else {}

    def begin(self, rest: Rest, chain: ChainSide) -> Agent:
        """The agent of this life, over these ports."""
        self.state = assemble(rest, chain, self.journal, self.manner)
        self.agent = Agent(self.state, chain.wakes)
        if self.manner.kept is not None:
            self.manner.kept.begin(self.state.leadership)
        return self.agent

    def kill(self) -> None:
        """kill -9: nothing more is written, nothing more is called."""
        self.journal.dead = True
        if self.manner.kept is not None:
            self.manner.kept.end()
        self.task.cancel()
        for task in self.agent.tasks() if self.agent else ():
            task.cancel()


class Process(Life):
    """A life over ports that are there at once."""

    def __init__(self, rest: Rest, chain: ChainSide, manner: Manner) -> None:
        super().__init__(manner)
        self.task = asyncio.create_task(self.begin(rest, chain).run(), name="agent")
