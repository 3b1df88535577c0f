"""What the loop and its feeds are both given: what is due, the rules of now, how far they came.

Who shows the agent (the status page, metrics, a test) reads this too, and never the loop itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from agent.agenda import Agenda
from agent.apply.context import World
from agent.apply.listings import Offering
from agent.apply.pricing import Pricing
from agent.aside import Aside, at_once
from agent.decide.drain import Drain
from agent.decide.lifecycle import LifecycleRules
from agent.decide.termination_breaker import BreakerRules, BreakerState
from agent.decide.unconfirmed_launches import BurstRules
from agent.journal.orders import OrderRecord, Orders
from agent.journal.reading import Reader, Restore
from agent.load.loader import Loader, Sources
from agent.loop.leading import Leadership
from agent.market.model import JobId


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """The loop's own cadences, seconds."""

    resync_seconds: float = 300.0
    relist_seconds: float = 60.0  # the chain's list of jobs alone, against what is remembered
    busy_look_seconds: float = 1.0  # at a region in which something is coming up or going down
    calm_look_seconds: float = 20.0
    orders_seconds: float = 1.0
    sweep_seconds: float = 300.0
    orphan_grace_seconds: float = 600.0
    least_tick_seconds: float = 0.02  # gathers what wakes together into one read of the chain
    least_look_seconds: float = 0.5  # a time that is past already must not make the loop spin
    heartbeat_seconds: float = 5.0


@dataclass(slots=True)
class Rules:
    """Everything that SIGHUP replaces."""

    lifecycle: LifecycleRules = field(default_factory=LifecycleRules)
    breaker: BreakerRules = field(default_factory=BreakerRules)
    burst: BurstRules = field(default_factory=BurstRules)
    service: ServiceRules = field(default_factory=ServiceRules)


@dataclass(slots=True)
class Progress:
    """What health and the watchdog are tied to."""

    finished_at: float = 0.0  # a turn of the main loop that ended well
    turns: int = 0
    turn_seconds: float = 0.0
    chain_error: str = ""
    unread_since: float | None = None  # unix seconds; None: the last look succeeded
    unread_told: bool = False
    resynced_at: float | None = None


@dataclass(slots=True)
class LoopState:
    """One agent's loop as a value; the loop and its feeds change it, others read."""

    sources: Sources
    world: World
    reader: Reader
    offering: Offering
    rules: Rules
    leadership: Leadership = field(default_factory=Leadership)
    aside: Aside = at_once  # where the journal is read: it may be a server that hangs
    restoring: Aside = at_once  # where its history is: years of it, of thousands of jobs
    told_elsewhere: list[Restore] = field(default_factory=list)
    """What was read at this process's start, and is read again when it takes over."""
    agenda: Agenda = field(default_factory=Agenda)
    progress: Progress = field(default_factory=Progress)
    drain: Drain = field(default_factory=Drain)
    breaker: BreakerState = field(default_factory=BreakerState)
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """The fleet was looked at once: before that nobody decides."""
    pressing: set[JobId] = field(default_factory=set)
    """Of whoever takes over: what was heard of while another host led, to be acted on before all
    jobs are read. Empty again once that was done, or tried."""
    pressed: asyncio.Event = field(default_factory=asyncio.Event)
    """A turn ended."""
    pricing: Pricing | None = None
    """What has prices follow their rules."""
    loader: Loader = field(init=False)

    def __post_init__(self) -> None:
        self.loader = Loader(self.sources, self._on_offer)
        if self.pricing is not None:
            self.pricing.on_change = self.repriced

    def _on_offer(self, instance_type: str) -> bool:
        """What the contract matched was on offer; where users name us, only what is."""
        on_chain = self.sources.market.abilities.lists_on_chain
        return on_chain or self.offering.has(instance_type)

    @property
    def orders(self) -> Orders:
        """What the operator ordered, as the journal has it."""
        return Orders(self.reader.engine)

    @property
    def drained(self) -> bool:
        """Whether `exit --all` has come so far that every job is left."""
        return self.drain.leaving

    @property
    def closed(self) -> str:
        """Why nothing is to be listed; empty: offers are open."""
        if self.drain.ordered:
            return "draining"
        return "paused" if self.world.memory.orders.paused else ""

    @property
    def held_jobs(self) -> frozenset[JobId]:
        """Jobs whose termination waits for a second endpoint or the operator."""
        return self.breaker.held

    def now(self) -> float:
        """Unix seconds by the agent's clock."""
        return self.world.clock.now()

    def take(self, rules: Rules) -> None:
        """New rules from here on; jobs that run are not vetted again."""
        self.rules = rules
        self.adopt()
        self.agenda.wake(self.world.memory.jobs)

    def adopt(self) -> None:
        """Have those who do things know what of the rules is theirs."""
        self.world.learner.adopt(self.rules.lifecycle.bootstrap.budget)
        self.world.known_images = self.rules.lifecycle.enclave.known_images

    def take_offer(self, order: OrderRecord) -> None:
        """What is offered from here on, for whoever lists it and for whoever judges jobs."""
        before = self.offering.prices
        self.offering.take_order(order)
        if self.pricing is not None and self.offering.prices is not before:
            self.pricing.ordered(str(order.fields["type"]), self.pricing.read(order.fields))
        self.repriced()

    def repriced(self) -> None:
        """Have jobs judged by what is asked from here on, where a price is our own word."""
        lifecycle = self.rules.lifecycle
        policy = replace(lifecycle.policy, prices=self.offering.asks)
        self.rules.lifecycle = replace(lifecycle, policy=policy)

    def in_words(self) -> str:
        """One line for `systemctl status`."""
        stages = Counter(job.stage for job in self.world.memory.jobs.values())
        words = [f"{count} {stage}" for stage, count in sorted(stages.items())]
        held = [f"{len(self.held_jobs)} ends held"] if self.held_jobs else []
        trouble = ["the chain can't be read"] if self.progress.chain_error else []
        return ", ".join([*trouble, *held, *words]) or "no jobs"
