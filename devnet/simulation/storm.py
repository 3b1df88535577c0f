"""One seed, one run: a market, a cloud and a hundred jobs, and everything that can go wrong.

The agent's own code runs under a virtual clock; ports answer after seeded delays, which is what
orders the tasks. The same seed gives the same run, to the last event: `Result.digest` says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.apply.clock_by_aws import ClockByAws
from agent.chain.endpoints import Endpoints
from agent.chain.head import Finality
from agent.load.remembered import JobMemory
from agent.market.model import JobId
from agent.markets.registry.reads import Market as Registry
from agent.ports import Account, Order
from agent.wiring.markets import AnyMarket
from cloud.model import Region
from devnet.simulation import loop, people
from devnet.simulation.actors import Actors
from devnet.simulation.blocks import Block, BlockChain, Tx
from devnet.simulation.chain import SimChain, SimSecondEndpoint
from devnet.simulation.invariants import Invariants
from devnet.simulation.lives import Lives
from devnet.simulation.loop import StormClock
from devnet.simulation.machine import Machine
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import REGISTRY, US
from devnet.simulation.opinions import Views
from devnet.simulation.people import DENIED, HOSTILE
from devnet.simulation.process import ChainSide, Life, Manner, Process, Rest
from devnet.simulation.protocol import Job
from devnet.simulation.scenario import DAY_SECONDS, genesis
from devnet.simulation.stage import Stage
from devnet.simulation.storm_cloud import StormCloud, StormImages
from devnet.simulation.storm_trouble_acts import begin
from devnet.simulation.storm_troubles import Kind, Plan
from devnet.simulation.watch import LEFT, Allowances, Violation, Watch
from devnet.simulation.wire.chain import WireChain
from devnet.simulation.wire.contract import Contract, Told
from devnet.simulation.wire.ledger import Ledger
from devnet.simulation.wire.life import Wire, WireLife
from devnet.simulation.wire.node import Node
from devnet.simulation.wire.words import REGISTRY_WORDS

Watched = tuple[BlockChain, StormCloud, Plan, float, Allowances, Callable[[], bool]]
HOME = Region("us-east-1")
FAR_OFF = 60.0  # seconds by which a wall clock is off when ages can't be judged by it any more
# Between the block that was read and what is sent for it: blocks, jobs, what is final and the
# transaction; over JSON-RPC each is two or three, and the transaction is a look and seven.
EXCHANGES = 16


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to. `seconds` are virtual."""

    seed: int
    seconds: float
    violations: tuple[Violation, ...]
    faults: Counter[str]
    judged: Counter[str]
    transactions: int
    machines: int
    digest: str
    job_days: float = 0.0  # of instances, from launch to end


@dataclass
class Storm(Stage):
    """`run` plays one scenario to its end."""

    tamper: Callable[[Storm], None] = lambda storm: None
    faults: Counter[str] = field(default_factory=Counter)

    def run(self) -> Result:
        """Everything, in virtual time."""
        return loop.run(self._run())

    async def _run(self) -> Result:
        self._build()
        self.tamper(self)
        self.lives.start()
        running = [
            asyncio.create_task(task)
            for task in (
                self.chain.mine_for_ever(),
                self._users(),
                self._trouble(),
                self.lives.supervise(),
                self.actors.operator(),
            )
        ]
        await self._until_over()
        for task in running:
            if task.done():
                task.result()  # whoever died of a bug of the storm's would be missed from then on
            task.cancel()
        self.watch.finish(remembered=len(self._memory()), lives=self.lives.count)
        self.lives.process.kill()
        self.digest.update(f"{self.clock.now():.3f}".encode())
        return Result(
            seed=self.what.seed,
            seconds=self.second(),
            violations=tuple(self.watch.found),
            faults=self.faults,
            judged=self.watch.judged,
            transactions=len(self.chain.log),
            machines=len(self.cloud.machines),
            digest=self.digest.hexdigest()[:16],
            job_days=self._served_seconds() / DAY_SECONDS,
        )

    def _served_seconds(self) -> float:
        now = self.clock.now()
        return sum(min(one.ends_at, now) - one.launched_at for one in self.cloud.machines.values())

    # The world.

    def _build(self) -> None:
        what, now = self.what, loop.current()
        rng = random.Random(f"{what.seed}:order")
        self.clock = StormClock(now, random.Random(f"{what.seed}:clock"))
        self.agent_clock = StormClock(now, random.Random(f"{what.seed}:clock2"))
        self.weather = Weather(self.clock, rng, 0.0, what.latency)
        self.chain = self._chain()
        self.nodes = list(self._nodes())
        self.cloud = StormCloud(
            self.clock, self.weather, what.lengths, done=self.note, fate_of=what.plan.fate
        )
        self.images = StormImages(self.clock, self.weather, what.image_seconds, {HOSTILE})
        self.witness = self._second()
        self._hear_everything()
        self.lives = self._lives()
        self.actors = Actors(self, self.lives, what.requests)

    def _lives(self) -> Lives:
        return Lives(self, self.what.plan, self._life)

    def _chain(self) -> BlockChain:
        what, model = self.what, genesis(self.what)
        kind = WireChain if what.wire else SimChain
        return kind(self.clock, self.weather, model, what.block_seconds, what.depth)

    def _users(self) -> Coroutine[Any, Any, None]:
        return self.actors.users()

    def _second(self) -> SimSecondEndpoint | None:
        """The second endpoint, where there is one and no JSON-RPC between."""
        if not self.what.witness or not isinstance(self.chain, SimChain):
            return None
        return SimSecondEndpoint(self.chain, self.weather, self.second_views)

    def _rest(self) -> Rest:
        return Rest(
            Account(1, REGISTRY, US), self.cloud, self.cloud, self.cloud, self.images,
            ClockByAws(self.agent_clock, self._aws_ahead), (HOME,),
        )  # fmt: skip

    def _aws_ahead(self) -> float | None:
        """By the date of its answers, of which there is one every few seconds; a process that has
        none yet asks before it decides."""
        return -self.agent_clock.skew_seconds if self.what.plan.told_time else None

    def _nodes(self) -> Iterator[Node]:
        if isinstance(self.chain, WireChain):
            yield Node.first(self.chain, self.weather, self._told(self.chain.views))
            if self.what.witness:
                yield Node.second(self.chain, self.weather, self._told(self.second_views))

    def _told(self, views: Views) -> Told:
        return Contract(views, REGISTRY_WORDS, terms=self.chain.model.terms)

    def _life(self, manner: Manner) -> Life:
        chain = self.chain
        if isinstance(chain, SimChain):
            side = ChainSide(chain, chain, chain, self.witness)
            return Process(self._rest(), side, manner)
        finality = Finality(None if self.what.seed % 2 else self.what.depth)
        wire = Wire(self.nodes, finality, self.lives.sends, self._market)
        return WireLife(self._rest(), wire, manner)

    def _market(self, endpoints: Endpoints) -> AnyMarket:
        return Registry(endpoints, REGISTRY)

    def _hear_everything(self) -> None:
        self.watch = watch = self._watch()
        self.chain.on_block = self._block
        self.chain.on_undone = watch.undone
        self.chain.on_sent = self._sent
        self.cloud.on_launched = self._launched
        self.cloud.on_ending = watch.ending
        self.cloud.on_attested = watch.attested

    def _watch(self) -> Watch:
        """Who watches, and the people who look at each block."""
        self.auditors = people.Auditors(self.chain, self.cloud, patience=1200)
        self.competitor = people.Competitor(self.chain, self.what.seed)
        watch = Invariants(*self._watched(), served=self._served)
        self.auditors.on_report = watch.reported
        self.ledger = Ledger(self.chain, watch) if isinstance(self.chain, WireChain) else None
        return watch

    def _watched(self) -> Watched:
        """What whoever watches has to look at, and what it allows."""
        allow = Allowances(
            grace=150.0 if self.what.witness else 300.0,  # or the operator confirms
            on_its_way=(EXCHANGES if self.what.wire else 4) * self.what.latency,
        )
        what = self.what
        return self.chain, self.cloud, what.plan, what.image_seconds, allow, self._clock_off

    def _clock_off(self) -> bool:
        return not self.what.plan.told_time and abs(self.agent_clock.skew_seconds) > FAR_OFF

    def _sent(self, tx: Tx, order: Order) -> None:
        self.note(f"{order.call} {order.key}")
        if isinstance(self.watch, Invariants):
            self.watch.sent(tx, order)
        if self.ledger is not None:
            self.ledger.sent(tx)

    def _launched(self, machine: Machine) -> None:
        who = machine.order.identity
        fate = self.what.plan.fate(who.job, who.generation, who.attempt)
        for bad, kind in (
            (fate.never_boots, Kind.NEVER_BOOTS),
            (fate.rogue, Kind.ROGUE),
            (fate.boot_factor > 2, Kind.SLOW_BOOT),
            (fate.hangs_at < 1e6, Kind.HOST_HANGS),
            (fate.enclave_dies_at < 1e6, Kind.ENCLAVE_DIES),
            (fate.ends_at < 1e6, Kind.INSTANCE_DIES),
        ):
            self.faults[kind] += bad
        self.watch.launched(machine)

    def _block(self, block: Block) -> None:
        self.watch.block(block)
        if self.ledger is not None:
            self.ledger.look(block)
        self.auditors.look(block)
        self.competitor.look(block)

    def _served(self, job: Job) -> bool:
        """Whether this provider's policy takes the job at all."""
        poor = job.escrow + job.paid < 600 * job.price // 10**12
        left = (job.id, job.generation) in self.actors.left
        return not (job.user == DENIED or job.enclave_url == HOSTILE or poor or left)

    # Its end.

    async def _until_over(self) -> None:
        last = self._last_request()
        while self.second() < self.what.longest:
            await self.clock.sleep(20)
            if self.second() > last + 60 and self._all_over():
                return
        self.watch.violated(LEFT, "the run does not end")

    def _last_request(self) -> float:
        return max((one.at for one in self.what.requests), default=0.0)

    def _memory(self) -> Mapping[JobId, JobMemory]:
        return self.lives.process.memory

    def _all_over(self) -> bool:
        """Nothing to do is left for anybody, or nothing changes any more."""
        if self.second() < max((t.until + 30 for t in self.what.plan.troubles), default=0.0):
            return False
        mail = self.watch.mail_left(lives=self.lives.count)
        left = self.cloud.live_machines() or mail or self._memory()
        # What a job that was taken for another left in the bucket is the next sweep's, which waits
        # for the last host that may need it.
        swept = self.lives.count > 1 or not (self.cloud.bucket or self.cloud.params)
        return not left and swept and not self._pending() and not self.chain.unmined

    def _pending(self) -> bool:
        """Whether the chain has a job that is not over."""
        return any(not job.stop_reason for job in self.chain.head.state.jobs)

    # What goes wrong.

    async def _trouble(self) -> None:
        for trouble in self.what.plan.troubles:
            await self.until(trouble.since)
            self.faults[trouble.kind] += 1
            self.note(f"trouble: {trouble.kind}")
            begin(self, self.lives, trouble)


def quiet() -> None:
    """The agent's log, a million lines of it, is not what a storm is about."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
