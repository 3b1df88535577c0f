"""The agent as a process that can be killed: its own code over the ports of a model world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from agent.deadline import Learner
from agent.fleet import Fleet
from agent.journal import Event, Reader
from agent.loader import Sources
from agent.memory import Memory
from agent.offering import Offering
from agent.offers import OfferRules
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
from agent.service import Agent, Rules
from agent.world import Hook, World
from cloud.model import Region
from devnet.simulation.world import MortalJournal


@dataclass(frozen=True)
class Ports:
    """Everything outside of the agent."""

    account: Account
    market: Market
    wakes: Wakes
    transactor: Transactor
    witness: Witness | None
    cloud: Cloud
    mailbox: Mailbox
    attester: Attester
    images: Images
    clock: Clock
    regions: tuple[Region, ...]


class HeardJournal(MortalJournal):
    """Tells what the agent says of itself, too."""

    def __init__(self, engine: sa.Engine, hear: Callable[[Event], None]) -> None:
        super().__init__(engine)
        self._hear = hear

    def event(self, event: Event) -> None:
        if not self.dead:
            self._hear(event)
        super().event(event)


class Process:
    """One life of the agent, from `exec` to its end. Nothing in memory comes from before."""

    def __init__(
        self,
        ports: Ports,
        engine: sa.Engine,
        rules: Rules,
        offers: OfferRules,
        *,
        hook: Hook,
        hear: Callable[[Event], None],
    ) -> None:
        self.journal = HeardJournal(engine, hear)
        memory, clock = Memory(), ports.clock
        fleet = Fleet(ports.cloud, ports.mailbox, clock, ports.account)
        world = World(
            cloud=ports.cloud,
            mailbox=ports.mailbox,
            images=ports.images,
            attester=ports.attester,
            transactor=ports.transactor,
            clock=clock,
            journal=self.journal,
            memory=memory,
            fleet=fleet,
            learner=Learner(),
            hook=hook,
        )
        sources = Sources(
            ports.account, ports.market, ports.witness, ports.cloud, fleet, memory, clock,
            ports.regions,
        )  # fmt: skip
        offering = Offering(
            ports.market, ports.cloud, ports.transactor, clock, self.journal,
            rules.lifecycle.policy.prices, offers,
        )  # fmt: skip
        self.agent = Agent(sources, world, ports.wakes, Reader(engine), offering, rules)
        self.task = asyncio.create_task(self.agent.run(), name="agent")

    @property
    def alive(self) -> bool:
        return not self.task.done()

    def kill(self) -> None:
        """kill -9: nothing more is written, nothing more is called."""
        self.journal.dead = True
        self.task.cancel()
        for task in self.agent.tasks():
            task.cancel()
