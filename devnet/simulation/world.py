"""One simulated market with one agent in it, driven by a script of (second, what happens)."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from agent.apply.clock_by_aws import ClockByAws, nobody_knows
from agent.apply.context import Hook, World
from agent.apply.listings import Offering
from agent.apply.pricing import Pricing
from agent.decide.deadline import Learner
from agent.decide.listings import OfferRules
from agent.decide.pricing import PriceRule
from agent.decide.refusal import PolicyRules
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.journal.schema import metadata
from agent.journal.writing import Commit, Journal
from agent.load.fleet import Fleet
from agent.load.loader import Sources
from agent.load.remembered import Memory
from agent.loop.service import Agent
from agent.loop.state import LoopState, Rules, ServiceRules
from agent.market.model import JobId, Price
from agent.ports import Account
from cloud.model import Region
from devnet.simulation import loop
from devnet.simulation.cloud import SimCloud
from devnet.simulation.images import SimImages
from devnet.simulation.market import SimMarket, SimWitness
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import REGISTRY, US

HOME = Region("us-east-1")
TYPE = "us-east-1/c6a.xlarge"
PRICES = {TYPE: Price(10**12)}

Step = tuple[float, Callable[["Simulation"], None]]


class MortalJournal(Journal):
    """A journal whose process can be killed: what was not committed by then never is."""

    dead = False

    def flush(self) -> bool:
        return False if self.dead else super().flush()

    async def aside(self, work: Commit) -> int:
        """Where time is virtual there is one thread."""
        return 0 if self.dead else work()


def default_rules() -> Rules:
    rules = Rules(service=ServiceRules(orders_seconds=5.0))
    lifecycle = rules.lifecycle
    rules.lifecycle = type(lifecycle)(
        policy=PolicyRules(prices=PRICES),
        bootstrap=lifecycle.bootstrap,
        enclave=lifecycle.enclave,
        health=lifecycle.health,
        ending=lifecycle.ending,
    )
    return rules


@dataclass
class Simulation:
    """`run` plays a script and returns what was done, as (second, text)."""

    seed: int = 0
    rules: Rules = field(default_factory=default_rules)
    offer_rules: OfferRules = field(default_factory=OfferRules)
    price_rules: Mapping[str, PriceRule] = field(default_factory=dict)
    costs: dict[str, Price] = field(default_factory=dict)  # of types, where they are known
    with_witness: bool = False
    aws_is_silent: bool = True  # of the time: the agent has its own clock alone
    hook: Hook = lambda when, name: None
    setup: Callable[[Simulation], None] = lambda simulation: None
    done: list[tuple[float, str]] = field(default_factory=list)

    def run(self, script: Sequence[Step], until: float) -> list[tuple[float, str]]:
        """Play `script` in virtual time until second `until`."""
        return loop.run(self._run(script, until))

    async def _run(self, script: Sequence[Step], until: float) -> list[tuple[float, str]]:
        self._build()
        self.setup(self)
        miner = asyncio.create_task(self.market.mine_for_ever())
        self.start()
        for second, happens in sorted(script, key=lambda step: step[0]):
            await self._until(second)
            happens(self)
        await self._until(until)
        self.kill()
        miner.cancel()
        return self.done

    async def _until(self, second: float) -> None:
        left = loop.START + second - self.clock.now()
        if left > 0:
            await asyncio.sleep(left)

    def _build(self) -> None:
        self.clock = loop.VirtualClock(loop.current())
        self.agent_clock = loop.VirtualClock(loop.current())  # may be set wrong
        ahead = nobody_knows if self.aws_is_silent else self._aws_ahead
        self.told_clock = ClockByAws(self.agent_clock, ahead)
        self.weather = Weather(self.clock, random.Random(self.seed))
        self.market = SimMarket(self.clock, self.weather, done=self._note)
        self.market.offers.update(PRICES)
        self.cloud = SimCloud(self.clock, self.weather, done=self._note)
        self.images = SimImages(self.clock, self.weather, done=self._note)
        self.witness = SimWitness(self.market, self.weather) if self.with_witness else None
        self.engine = new_engine()

    def _aws_ahead(self) -> float:
        return -self.agent_clock.skew_seconds

    def _note(self, text: str) -> None:
        self.done.append((round(self.clock.now() - loop.START, 1), text))

    # The agent's process.

    def start(self, *, lose_journal: bool = False) -> None:
        """A new process: nothing in memory, the journal as it was left, or lost."""
        if lose_journal:
            self.engine = new_engine()
        self.journal = MortalJournal(self.engine)
        memory = Memory()
        account = Account(1, REGISTRY, US)
        fleet = Fleet(self.cloud, self.cloud, self.told_clock, account)
        world = World(
            cloud=self.cloud,
            mailbox=self.cloud,
            images=self.images,
            attester=self.cloud,
            transactor=self.market,
            clock=self.told_clock,
            journal=self.journal,
            memory=memory,
            fleet=fleet,
            learner=Learner(),
            hook=self.hook,
        )
        sources = Sources(
            account, self.market, self.witness, self.cloud, fleet, memory, self.told_clock, (HOME,)
        )
        offering = Offering(
            self.market,
            self.cloud,
            self.market,
            self.told_clock,
            self.journal,
            {
                kind: price
                for kind, price in self.rules.lifecycle.policy.prices.items()
                if kind not in self.price_rules
            },
            self.offer_rules,
            fleet,
        )
        pricing = Pricing(
            self.market, self.told_clock, self.journal.event, offering, self.costs.get,
            self.price_rules,
        )  # fmt: skip
        if self.witness:
            pricing.listed = self.witness.offer
        self.state = LoopState(
            sources, world, Reader(self.engine), offering, self.rules, pricing=pricing
        )
        self.agent = Agent(self.state, self.market)
        self.process = asyncio.create_task(self.agent.run(), name="agent")

    def kill(self) -> None:
        """kill -9: nothing more is written, nothing more is called."""
        self.journal.dead = True
        self.process.cancel()
        for task in self.agent.tasks():
            task.cancel()

    def crash(self, seconds: float, *, lose_journal: bool = False) -> None:
        """Kill from within the agent's own call, which ends here, and start again later."""
        self.restart_in(seconds, lose_journal=lose_journal)
        raise asyncio.CancelledError

    def restart_in(self, seconds: float, *, lose_journal: bool = False) -> None:
        """Kill now, start again later."""
        self.kill()
        asyncio.get_running_loop().call_later(
            seconds, lambda: self.start(lose_journal=lose_journal)
        )

    def order(self, kind: str, job: int | None = None) -> None:
        """What the operator's CLI writes into the journal."""
        Orders(self.engine).place(
            self.clock.now(), kind, None if job is None else JobId(job), "test"
        )

    def events(self, job: int) -> list[str]:
        """The names on a job's timeline."""
        self.journal.flush()
        return [event.name for event in Reader(self.engine).timeline(JobId(job))]

    def said(self, job: int, name: str) -> str:
        """The text of the first line of that name on a job's timeline; empty: there is none."""
        self.journal.flush()
        lines = Reader(self.engine).timeline(JobId(job))
        return next((event.text for event in lines if event.name == name), "")

    def left_in_aws(self) -> list[str]:
        """What the job's end should have removed."""
        live = [m.id for m in self.cloud.machines.values() if m.ends_at == float("inf")]
        return [*live, *sorted(self.cloud.mail), *(sha for _, sha in sorted(self.cloud.bucket))]


def new_engine() -> sa.Engine:
    """A journal in memory, its schema made at once; it is closed when nobody holds it any more."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    weakref.finalize(engine, engine.pool.dispose)
    metadata.create_all(engine)
    return engine
