"""One seed, one run: a market, a cloud and a hundred jobs, and everything that can go wrong.

The agent's own code runs under a virtual clock; ports answer after seeded delays, which is what
orders the tasks. The same seed gives the same run, to the last event: `Result.digest` says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
import structlog

from agent.journal import Event, OrderKind, Reader
from agent.lifecycle import LifecycleRules
from agent.market.model import JobId, Price
from agent.offers import OfferRules
from agent.policy import PolicyRules
from agent.ports import Account, Image, Order
from agent.service import Rules, ServiceRules
from cloud.model import Region
from devnet.simulation import loop, people
from devnet.simulation.chain import Block, SimChain, SimSecondEndpoint, Tx
from devnet.simulation.cloud import Lengths, Machine, SimImages
from devnet.simulation.faults import Fit, Weather
from devnet.simulation.invariants import BROKEN, LEFT, Allowances, Invariants, Violation
from devnet.simulation.market import OTHER, REGISTRY, US
from devnet.simulation.people import AUDITORS, DENIED, HOSTILE, UNIT, USERS, Request
from devnet.simulation.process import Ports, Process
from devnet.simulation.protocol import Job, Model, Terms
from devnet.simulation.stormcloud import StormCloud
from devnet.simulation.trouble import Kind, Plan, Trouble, draw
from devnet.simulation.world import new_engine
from faults import Fault, MustStop, RetryLater

HOME = Region("us-east-1")
FAR_OFF = 60.0  # seconds by which a wall clock is off when ages can't be judged by it any more
LONGEST = 2.5 * 3600.0  # a run that is not done by then never will be


@dataclass(frozen=True, slots=True)
class Scenario:
    """The size and shape of a run, all of it drawn from the seed but the number of jobs."""

    seed: int
    jobs: int
    terms: Terms
    block_seconds: float
    depth: int
    witness: bool
    image_seconds: float
    lengths: Lengths
    others_price: int
    requests: tuple[Request, ...]
    plan: Plan
    latency: float


def scenario(seed: int, jobs: int = 100) -> Scenario:
    """What the seed says."""
    rng = random.Random(f"{seed}:scenario")
    within, witness = rng.uniform(300, 1200), rng.random() < 0.6
    bootstrapping = rng.choice([240, 300, 420, 600])
    return Scenario(
        seed=seed,
        jobs=jobs,
        terms=Terms(1000, bootstrapping, bootstrapping + 120, rng.choice([300, 900]), 2),
        block_seconds=rng.choice([4.0, 6.0, 12.0]),
        depth=rng.choice([3, 6, 12]),
        witness=witness,
        image_seconds=rng.choice([2.0, 15.0, 45.0]),
        lengths=Lengths(listed=900.0, visible=rng.choice([0.0, 3.0, 15.0])),
        others_price=rng.choice([UNIT * 2, UNIT * 2, UNIT // 2]),
        requests=tuple(people.requests(seed, jobs, within=within)),
        plan=draw(seed, length=within + 1500, witness=witness),
        latency=rng.choice([0.05, 0.3, 1.0]),
    )


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


@dataclass
class StormClock:
    """Wakes a little late, by chance: nothing may hang on the order of equal times."""

    loop: asyncio.AbstractEventLoop
    rng: random.Random
    skew_seconds: float = 0.0

    def now(self) -> float:
        return self.loop.time() + self.skew_seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) + self.rng.random() * 0.004)


class StormImages(SimImages):
    """Gateways that stall for a while."""

    stalled_until = 0.0

    async def fetch(self, url: str, *, job: int, deadline: float) -> Image:
        if url not in self.stored and self.clock.now() < self.stalled_until:
            await self.clock.sleep(self.stalled_until - self.clock.now())
            raise RetryLater("simulated: the gateway stalled")
        return await super().fetch(url, job=job, deadline=deadline)


@dataclass
class Storm:
    """`run` plays one scenario to its end."""

    what: Scenario
    trace: bool = False
    tamper: Callable[[Storm], None] = lambda storm: None
    faults: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    left: set[tuple[int, int]] = field(default_factory=set)  # assignments the operator leaves

    def run(self) -> Result:
        """Everything, in virtual time."""
        return loop.run(self._run())

    async def _run(self) -> Result:
        self._build()
        self.tamper(self)
        self._start()
        running = [
            asyncio.create_task(task)
            for task in (
                self.chain.mine_for_ever(),
                self._people(),
                self._trouble(),
                self._supervise(),
                self._operate(),
            )
        ]
        await self._until_over()
        for task in running:
            task.cancel()
        self.watch.finish(remembered=len(self.process.agent.world.memory.jobs), lives=self.lives)
        self.process.kill()
        self._hash.update(f"{self.clock.now():.3f}".encode())
        return Result(
            seed=self.what.seed,
            seconds=self._second(),
            violations=tuple(self.watch.found),
            faults=self.faults,
            judged=self.watch.judged,
            transactions=len(self.chain.log),
            machines=len(self.cloud.machines),
            digest=self._hash.hexdigest()[:16],
        )

    def _second(self) -> float:
        return self.clock.now() - loop.START

    # The world.

    def _build(self) -> None:
        what, now = self.what, asyncio.get_running_loop()
        self._hash = hashlib.sha256()
        rng = random.Random(f"{what.seed}:order")
        self.clock = StormClock(now, random.Random(f"{what.seed}:clock"))
        self.agent_clock = StormClock(now, random.Random(f"{what.seed}:clock2"))
        self.weather = Weather(self.clock, rng, 0.0, what.latency)
        model = genesis(what)
        self.chain = SimChain(self.clock, self.weather, model, what.block_seconds, what.depth)
        self.cloud = StormCloud(
            self.clock, self.weather, what.lengths, done=self._note, fate_of=what.plan.fate
        )
        self.images = StormImages(self.clock, self.weather, what.image_seconds, {HOSTILE})
        self.witness = SimSecondEndpoint(self.chain, self.weather) if what.witness else None
        self.auditors = people.Auditors(self.chain, self.cloud, patience=1200)
        self.competitor = people.Competitor(self.chain, what.seed)
        self._watch_everything()
        self.engine = new_engine()
        self.killing, self.lives, self.lost_at = False, 0, float("inf")

    def _watch_everything(self) -> None:
        watch = Invariants(
            self.chain, self.cloud, self.what.plan, self._served, self.what.image_seconds,
            Allowances(grace=150.0 if self.what.witness else 300.0),  # or the operator confirms
            lambda: abs(self.agent_clock.skew_seconds) > FAR_OFF,
        )  # fmt: skip
        self.watch = watch
        self.chain.on_block = self._block
        self.chain.on_sent = self._sent
        self.cloud.on_launched = self._launched
        self.cloud.on_ending = watch.ending
        self.cloud.on_attested = watch.attested
        self.auditors.on_report = watch.reported

    def _sent(self, tx: Tx, order: Order) -> None:
        self._note(f"{order.call} {order.key}")
        self.watch.sent(tx, order)

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
        self.auditors.look(block)
        self.competitor.look(block)

    def _served(self, job: Job) -> bool:
        """Whether this provider's policy takes the job at all."""
        poor = job.escrow + job.paid < 600 * job.price // 10**12
        left = (job.id, job.generation) in self.left
        return not (job.user == DENIED or job.enclave_url == HOSTILE or poor or left)

    def _note(self, text: str) -> None:
        line = f"{self._second():.3f} {text}"
        self._hash.update(line.encode())
        if self.trace:
            self.lines.append(line)

    # The agent's lives.

    def _start(self) -> None:
        self.lives += 1
        self.chain.restart()
        self.ports = Ports(
            Account(1, REGISTRY, US), self.chain, self.chain, self.chain, self.witness,
            self.cloud, self.cloud, self.cloud, self.images, self.agent_clock, (HOME,),
        )  # fmt: skip
        self.process = Process(
            self.ports, self.engine, rules(), OfferRules(probe_seconds=60),
            hook=self._hook, hear=self._hear,
        )  # fmt: skip
        self._note("agent starts")

    def _hook(self, when: str, name: str) -> None:
        """Around each outside call of an effect: where a kill hurts most."""
        if self.killing:
            self.killing = False
            asyncio.get_running_loop().call_soon(self.process.kill)

    def _hear(self, event: Event) -> None:
        self._note(f"{event.job} {event.name} {event.text}")
        if event.name == "launch.asked" and event.job is not None and event.generation:
            race, attempt = bool(event.fields["race"]), int(event.fields["attempt"])
            self.watch.declared(event.job, event.generation, attempt, race=race)

    async def _supervise(self) -> None:
        """systemd: a process that ended is started again, unless it is down for now."""
        while True:
            await self.clock.sleep(5)
            if self.process.alive or self._down():
                continue
            self._why_ended()
            if self._second() >= self.lost_at:
                self.engine, self.lost_at = new_engine(), float("inf")
                self.chain.lose_log()
                self.watch.journal_lost()
            self._start()

    def _why_ended(self) -> None:
        task = self.process.task
        error = None if task.cancelled() else task.exception()
        if isinstance(error, MustStop) and "can't be recorded" in str(error):
            return
        if error is not None:
            self.watch.violated(BROKEN, f"{type(error).__name__}: {error}")

    def _down(self) -> bool:
        now = self._second()
        kinds = (Kind.KILLED, Kind.JOURNAL_LOST)
        return any(t.kind in kinds and t.since <= now < t.until for t in self.what.plan.troubles)

    async def _until_over(self) -> None:
        last = max((one.at for one in self.what.requests), default=0.0)
        while self._second() < LONGEST:
            await self.clock.sleep(20)
            if self._second() > last + 60 and self._all_over():
                return
        self.watch.violated(LEFT, "the run does not end")

    def _all_over(self) -> bool:
        """Nothing to do is left for anybody, or nothing changes any more."""
        if self._second() < max((t.until + 30 for t in self.what.plan.troubles), default=0.0):
            return False
        jobs = self.chain.head.state.jobs
        if any(job.provider == US and not job.stop_reason for job in jobs):
            return False
        memory = self.process.agent.world.memory.jobs
        left = self.cloud.live_machines() or self.watch.mail_left(lives=self.lives) or memory
        pending = any(not job.stop_reason for job in jobs)
        return not left and not pending

    # What others do.

    async def _people(self) -> None:
        made: dict[int, Request] = {}
        for second, number, act in sorted(people.timeline(self.what.requests)):
            await self._at(second)
            one = self.what.requests[number]
            made[number] = one
            self._act(one, act)

    async def _at(self, second: float) -> None:
        left = second - self._second()
        if left > 0:
            await asyncio.sleep(left)

    def _act(self, one: Request, act: str) -> None:
        if act == "request":
            args = (one.instance_type, one.max_price, one.url, one.deposit)
            self.chain.submit(one.user, "requestJob", *args)
            return
        job = self._job_of(one)
        if job is None:
            return
        if act == "stop":
            self.chain.submit(one.user, "requestToStopJob", job.id)
        elif act == "fund":
            self.chain.submit(one.user, "addFunds", job.id, one.funds)
        elif job.provider == US:
            self.left.add((job.id, job.generation))
            Reader(self.engine).order(self.clock.now(), OrderKind.EXIT, JobId(job.id), "storm")

    def _job_of(self, one: Request) -> Job | None:
        """The job that came of a request: its user, image, type and deposit tell."""
        for job in self.chain.head.state.jobs:
            same = (job.user, job.enclave_url, job.instance_type, job.max_price)
            wanted = (one.user, one.url, one.instance_type, one.max_price)
            if same == wanted and not job.stop_reason:
                return job
        return None

    async def _operate(self) -> None:
        """The operator looks now and then, and confirms terminations that are right."""
        while True:
            await self.clock.sleep(120)
            for number in self.process.agent.held_jobs:
                machines = [m for m in self.cloud.of_job(number) if m.ends_at == float("inf")]
                if machines and all(self.watch.needless(m) for m in machines):
                    order = OrderKind.CONFIRM_TERMINATIONS
                    Reader(self.engine).order(self.agent_clock.now(), order, JobId(number), "storm")

    # What goes wrong.

    async def _trouble(self) -> None:
        for trouble in self.what.plan.troubles:
            await self._at(trouble.since)
            self.faults[trouble.kind] += 1
            self._note(f"trouble: {trouble.kind}")
            begin(self, trouble)


def rules() -> Rules:
    """As configured by default, for two types, with one user denied."""
    policy = PolicyRules(
        prices={kind: Price(UNIT) for kind in people.TYPES}, deny_owners=frozenset({DENIED})
    )
    lifecycle = replace(LifecycleRules(), policy=policy)
    return Rules(lifecycle=lifecycle, service=ServiceRules(orders_seconds=5.0))


def quiet() -> None:
    """The agent's log, a million lines of it, is not what a storm is about."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def genesis(what: Scenario) -> Model:
    """The market before the first block: staked, listed, everybody has tokens."""
    model = Model(what.terms, AUDITORS, int(loop.START))
    for who in (US, OTHER, *USERS):
        model.state.pond[who] = model.state.money[who] = 10**9
    for who, price in ((US, UNIT), (OTHER, what.others_price)):
        model.call(who, "stake", 10**6)
        for kind in people.TYPES:
            model.call(who, "register", kind, price)
    return model


def begin(storm: Storm, trouble: Trouble) -> None:
    """Start one trouble; those that last end by themselves."""
    seconds = trouble.until - trouble.since
    later = asyncio.get_running_loop().call_later
    if trouble.kind in FITS:
        for fit in FITS[trouble.kind]:
            now = storm.clock.now()
            storm.weather.fits.append(replace(fit, since=now, until=now + seconds))
    elif trouble.kind in SWITCHES:
        switch = SWITCHES[trouble.kind]
        switch(storm, trouble, True)
        later(seconds, lambda: switch(storm, trouble, False))
    elif trouble.kind is Kind.REORG:
        rng = random.Random(trouble.size)
        storm.chain.reorganise(rng.randint(1, storm.what.depth), rng)
    else:
        _kill(storm, trouble)


def _kill(storm: Storm, trouble: Trouble) -> None:
    """At this very moment, or around the next outside call; at the latest in a second."""
    if trouble.size % 2:
        storm.killing = True
        asyncio.get_running_loop().call_later(0.9, storm.process.kill)
    else:
        storm.process.kill()
    if trouble.kind is Kind.JOURNAL_LOST:
        storm.lost_at = trouble.since


def _silent() -> Fault:
    return RetryLater("simulated: no answer")


def fits(*where: str, after: bool = False, times: int = 10**9) -> tuple[Fit, ...]:
    return tuple(Fit(one, _silent, after=after, times=times) for one in where)


FITS: dict[Kind, tuple[Fit, ...]] = {
    Kind.CHAIN_DOWN: fits("chain.read", "chain.send"),
    Kind.WITNESS_DOWN: fits("witness.read"),
    Kind.SEND_FAILS: fits("chain.send"),
    Kind.SEND_REPLY_LOST: fits("chain.send", after=True, times=3),
    Kind.LAUNCH_THROTTLED: fits("cloud.launch"),
    Kind.LAUNCH_REPLY_LOST: fits("cloud.launch", after=True, times=3),
    Kind.LIST_DOWN: fits("cloud.list"),
    Kind.TERMINATE_FAILS: fits("cloud.terminate"),
    Kind.TERMINATE_REPLY_LOST: fits("cloud.terminate", after=True, times=2),
    Kind.S3_DOWN: fits(
        "mailbox.reports", "mailbox.write", "mailbox.stage", "mailbox.forget", "mailbox.unstage"
    ),
    Kind.GATEWAYS_DOWN: fits("images.fetch"),
    Kind.BLIND: fits("attest"),
}

Switch = Callable[[Storm, Trouble, bool], None]


def _lag(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.lag = (1 + trouble.size % 6) if on else 0


def _empty(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.empty = on


def _lies(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.lies = trouble.size if on else 0


def _deaf(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.deaf = on


def _echo(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.echo = on


def _halt(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.frozen = on


def _sold_out(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.zones = {"a": 0, "b": 0} if on else {"a": 10**6, "b": 10**6}


def _quota(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.capacity = 0 if on else 10**6


def _list_empty(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.list_empty = on


def _stall(storm: Storm, trouble: Trouble, on: bool) -> None:
    if on:
        storm.images.stalled_until = storm.clock.now() + trouble.until - trouble.since


def _jump(storm: Storm, trouble: Trouble, on: bool) -> None:
    """Seconds mostly, an hour sometimes, either way."""
    rng = random.Random(trouble.size)
    far = rng.choice([2.0, 15.0, 25.0, 600.0, 3600.0])
    storm.agent_clock.skew_seconds = rng.choice([-far, far]) if on else 0.0


def _full(storm: Storm, trouble: Trouble, on: bool) -> None:
    """The journal's file can't grow: SQLite says that the disk is full."""
    storm.chain.disk_full = on
    with storm.engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages if on else 2**30}"))


SWITCHES: dict[Kind, Switch] = {
    Kind.CHAIN_LAGS: _lag,
    Kind.CHAIN_EMPTY: _empty,
    Kind.CHAIN_LIES: _lies,
    Kind.EVENTS_LOST: _deaf,
    Kind.EVENTS_DOUBLED: _echo,
    Kind.NO_BLOCKS: _halt,
    Kind.SOLD_OUT: _sold_out,
    Kind.QUOTA: _quota,
    Kind.LIST_EMPTY: _list_empty,
    Kind.GATEWAYS_STALL: _stall,
    Kind.CLOCK_JUMPS: _jump,
    Kind.DISK_FULL: _full,
}
