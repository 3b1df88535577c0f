"""The market of protocol.md as a model with blocks, finality and forks of opinion.

Transactions wait for the next block; reads are of the block they name. The arithmetic is that of
`agent.market.model`, which the contracts' own tests compare with the EVM.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.market.model import (
    Address,
    BlockNumber,
    BlockRef,
    Job,
    JobId,
    JobStatus,
    Price,
    StopReason,
    Wei,
)
from agent.market.terms import Abilities
from agent.market.testimony import Listing, Story, Testimony, compare
from agent.markets.registry.terms import RegistryTerms
from agent.ports import Blocks, Call, Clock, Mined, Order
from devnet.simulation.model_faults import Weather
from faults import Refused, RetryLater

US = Address("0x1111111111111111111111111111111111111111")
OTHER = Address("0x2222222222222222222222222222222222222222")
USER = Address("0x3333333333333333333333333333333333333333")
REGISTRY = Address("0x4444444444444444444444444444444444444444")

TERMS = RegistryTerms(
    stake_per_job=Wei(1000),
    job_bootstrapping=600,
    job_startup=900,
    job_exit_cool_down=3600,
    quorum=2,
)

Transaction = Callable[[int], None]


@dataclass
class Waiting:
    """A transaction that waits for its block."""

    key: str
    run: Transaction
    done: asyncio.Future[Mined]


@dataclass
class SimMarket:
    """Chain and contract. `depth` blocks under the head are final."""

    clock: Clock
    weather: Weather
    terms_: RegistryTerms = TERMS
    block_seconds: float = 12.0
    depth: int = 5
    jobs_: dict[JobId, Job] = field(default_factory=dict)
    offers: dict[str, Price] = field(default_factory=dict)
    stake: int = 1_000_000
    earned: int = 0
    refunded: int = 0
    deposited: int = 0
    slashed: int = 0
    number: int = 0
    lies: Callable[[Mapping[JobId, Job]], Mapping[JobId, Job]] | None = None
    sent: list[tuple[float, str, str]] = field(default_factory=list)
    done: Callable[[str], None] = lambda text: None
    frozen: bool = False  # no blocks are made

    @property
    def abilities(self) -> Abilities:
        return self.terms_.abilities

    def __post_init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._mined: dict[str, Mined] = {}
        self._history: list[tuple[int, dict[JobId, Job]]] = [(0, {})]
        self._times: list[int] = [int(self.clock.now())]
        self._touched: set[JobId] = set()
        self._heads = asyncio.Event()

    # Blocks.

    async def mine_for_ever(self) -> None:
        while True:
            await self.clock.sleep(self.block_seconds)
            if not self.frozen:
                self.mine()

    def mine(self) -> None:
        """One block with everything that waits, at the present second."""
        self.number += 1
        at = int(self.clock.now())
        self._times.append(at)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._include(one, at)
        if self._history[-1][1] != self.jobs_:
            self._history.append((self.number, dict(self.jobs_)))
        self._heads.set()

    def _include(self, one: Waiting, at: int) -> None:
        try:
            one.run(at)
        except Refused as refused:
            if not one.done.done():
                one.done.set_exception(refused)
            return
        mined = Mined(tx_hash=f"0x{one.key}", block=self.number, fee_wei=1)
        self._mined[one.key] = mined
        self.sent.append((self.clock.now(), one.key, "mined"))
        if not one.done.done():
            one.done.set_result(mined)

    def _ref(self, number: int) -> BlockRef:
        number = max(number, 0)
        return BlockRef(BlockNumber(number), f"0x{number:064x}", self._times[number])

    def state_at(self, number: int) -> Mapping[JobId, Job]:
        """All jobs as of a block."""
        index = bisect_right(self._history, number, key=lambda entry: entry[0]) - 1
        return self._history[index][1]

    # What the agent reads: `Market`, `Witness`, `Wakes`.

    async def blocks(self) -> Blocks:
        await self.weather.before("chain.read")
        return Blocks(self._ref(self.number), self._ref(self.number - self.depth))

    async def terms(self, at: BlockRef) -> RegistryTerms:
        return self.terms_

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        await self.weather.before("chain.read")
        state = self.state_at(at.number)
        found = {job: state[job] for job in ids if job in state}
        return self.lies(found) if self.lies else found

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        await self.weather.before("chain.read")
        state = self.state_at(at.number).values()
        return [job.id for job in state if job.provider == US and not job.is_stopped]

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        await self.weather.before("chain.read")
        return self.offers.get(instance_type)

    def took(self, job: Job) -> None:
        """Its price stays as it is."""

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        return {}

    async def openings(self, at: BlockRef) -> int:
        active = sum(j.provider == US and not j.is_stopped for j in self.jobs_.values())
        return self.stake // self.terms_.stake_per_job - active

    async def wait(self) -> Sequence[JobId]:
        await self._heads.wait()
        self._heads.clear()
        await self.weather.before("chain.events")
        touched, self._touched = self._touched, set()
        return sorted(touched)

    # What the agent sends: `Transactor`.

    async def carry_out(self, order: Order) -> Mined:
        if order.key in self._mined:
            return self._mined[order.key]
        await self.weather.before("chain.send")
        run = self._call(order)
        done: asyncio.Future[Mined] = asyncio.get_running_loop().create_future()
        pending = next((one for one in self._waiting if one.key == order.key), None)
        if pending is None:
            self._simulate(order)
            named = order.call.value if order.job is None else f"{order.call.value} job={order.job}"
            self.done(named)
            self._waiting.append(Waiting(order.key, run, done))
        else:
            done = pending.done
        mined = await asyncio.shield(done)
        await self.weather.after("chain.send")
        return mined

    def _simulate(self, order: Order) -> None:
        """What would happen in the next block: raises Refused as the node's eth_call would."""
        before = (dict(self.jobs_), dict(self.offers), self.earned, self.refunded)
        touched = set(self._touched)
        try:
            self._call(order)(int(self.clock.now()))
        finally:
            self.jobs_, self.offers, self.earned, self.refunded = before
            self._touched = touched

    def _call(self, order: Order) -> Transaction:
        job, kind = order.job, order.instance_type or ""
        price = order.price
        calls: dict[Call, Transaction] = {
            Call.REPORT_STARTED: lambda at: self.report_started(at, job, order.endpoint or ""),
            Call.SETTLE: lambda at: self.settle(at, job),
            Call.REQUEST_EXIT: lambda at: self.request_exit(at, job),
            Call.FINALIZE_EXIT: lambda at: self.finalize_exit(at, job),
            Call.REGISTER: lambda at: self.offers.__setitem__(kind, price or Price(1)),
            Call.DEREGISTER: lambda at: self.offers.__delitem__(kind),
        }
        return calls[order.call]

    # The contract's functions, as of a block's second.

    def _get(self, at: int, job: JobId | None) -> Job:
        found = self.jobs_.get(job) if job is not None else None
        if found is None:
            raise Refused("no such job")
        self._touched.add(found.id)
        return found

    def _alive(self, at: int, job: JobId | None) -> Job:
        found = self._get(at, job)
        if self.terms_.is_over(found, at):
            raise Refused("the job is over")
        return found

    def _put(self, job: Job) -> None:
        self.jobs_[job.id] = job
        self._touched.add(job.id)

    def report_started(self, at: int, job: JobId | None, endpoint: str) -> None:
        found = self._alive(at, job)
        if found.is_started or at >= self.terms_.due(found).at:
            raise Refused("too late to start, or started")
        status = JobStatus.EXITING if found.exit_requested_at else JobStatus.RUNNING
        self._put(replace(found, started_at=at, status=status, endpoint=endpoint))

    def settle(self, at: int, job: JobId | None) -> None:
        found = self._get(at, job)
        if found.is_stopped:
            return
        end = self.terms_.ending(found)
        if end is not None and at >= end.at:
            self._stop(found, end.at, end.reason)
        else:
            self._pay(found, at)

    def _pay(self, job: Job, at: int) -> Job:
        due = self.terms_.accrued(job, at)
        if job.provider == US:
            self.earned += due
        settled = at if job.is_started else job.settled_until
        paid = replace(job, escrow=Wei(job.escrow - due), settled_until=settled)
        self._put(paid)
        return paid

    def _stop(self, job: Job, at: int, reason: StopReason) -> None:
        paid = self._pay(job, at)
        self.refunded += paid.escrow
        stopped = JobStatus.STOPPED
        self._put(replace(paid, status=stopped, stop_reason=reason, stopped_at=at, escrow=Wei(0)))

    def request_exit(self, at: int, job: JobId | None) -> None:
        found = self._alive(at, job)
        if found.exit_requested_at:
            raise Refused("an exit is requested already")
        paid = self._pay(found, at)
        self._put(replace(paid, exit_requested_at=at, status=JobStatus.EXITING))

    def finalize_exit(self, at: int, job: JobId | None) -> None:
        found = self._get(at, job)
        if found.is_stopped:
            return
        end = self.terms_.ending(found)
        if end is None or at < end.at:
            raise Refused("the cool-down has not passed")
        self._stop(found, end.at, end.reason)

    # The other actors: their transactions are in the next block.

    def submit(self, run: Transaction) -> None:
        done: asyncio.Future[Mined] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda one: one.exception())
        self._waiting.append(Waiting(f"other:{len(self.sent)}:{id(done)}", run, done))

    def assign(
        self,
        job: JobId,
        *,
        instance_type: str = "us-east-1/c6a.xlarge",
        price: Price = Price(10**12),  # noqa: B008 - a frozen value
        escrow: int = 100_000,
        url: str = "ipfs://image",
        provider: Address = US,
    ) -> None:
        """A user's request, matched: the job is in the next block."""

        def run(at: int) -> None:
            self.deposited += escrow
            self._put(
                Job(
                    id=job,
                    user=USER,
                    provider=provider,
                    instance_type=instance_type,
                    max_price=price,
                    price=price,
                    enclave_url=url,
                    generation=1,
                    status=JobStatus.BOOTSTRAPPING,
                    stop_reason=StopReason.NONE,
                    assigned_at=at,
                    started_at=0,
                    exit_requested_at=0,
                    stopped_at=0,
                    escrow=Wei(escrow),
                    settled_until=0,
                    endpoint="",
                )
            )

        self.submit(run)

    def stop_by_user(self, job: JobId) -> None:
        def run(at: int) -> None:
            found = self._get(at, job)
            if not found.is_stopped:
                end = self.terms_.ending(found)
                over = end is not None and at >= end.at
                when, why = (end.at, end.reason) if end and over else (at, StopReason.USER_REQUEST)
                self._stop(found, when, why)

        self.submit(run)

    def fund(self, job: JobId, amount: int) -> None:
        def run(at: int) -> None:
            found = self._pay(self._alive(at, job), at)
            self.deposited += amount
            self._put(replace(found, escrow=Wei(found.escrow + amount)))

        self.submit(run)

    def slash(self, job: JobId, to: Address | None = OTHER) -> None:
        """The quorum's report: our stake is lost, the job goes to `to`, or stops."""

        def run(at: int) -> None:
            found = self._pay(self._alive(at, job), at)
            self.slashed += self.terms_.stake_per_job
            self.stake -= self.terms_.stake_per_job
            if to is None:
                self._stop(found, at, StopReason.NO_PROVIDER)
                return
            self._put(
                replace(
                    found,
                    provider=to,
                    generation=found.generation + 1,
                    status=JobStatus.BOOTSTRAPPING,
                    assigned_at=at,
                    started_at=0,
                    exit_requested_at=0,
                    settled_until=0,
                    endpoint="",
                )
            )

        self.submit(run)

    def undo(self, job: JobId) -> None:
        """A reorganisation took the job's assignment away, and it does not come back."""
        self.jobs_.pop(job, None)
        self._touched.add(job)

    def money_is_exact(self) -> bool:
        """Rule 9: deposits are in escrows, with the provider, or back with users."""
        others = self.deposited - self.earned - self.refunded
        return others >= sum(job.escrow for job in self.jobs_.values()) >= 0


@dataclass
class SimWitness:
    """A second endpoint on the same chain, with faults and opinions of its own."""

    market: SimMarket
    weather: Weather
    lies: Callable[[Mapping[JobId, Job]], Mapping[JobId, Job]] | None = None

    async def testify(self, ids: Sequence[JobId], at: BlockRef) -> Testimony:
        """Of two endpoints: the market's own, and this one."""
        await self.weather.before("witness.read")
        if at.number > self.market.number:
            raise RetryLater("the second endpoint lags")
        honest = self.market.state_at(at.number)
        found = {job: honest[job] for job in ids if job in honest}
        final = BlockNumber(max(0, self.market.number - self.market.depth))
        told = [
            Story(at, final, self.market.terms_, lies(found) if lies else found)
            for lies in (self.market.lies, self.lies)
        ]
        return compare(at, ids, told, of=2)

    async def lists(self) -> Sequence[Listing]:
        await self.weather.before("witness.read")
        at = (await self.market.blocks()).head
        active = frozenset(await self.market.active_jobs(at))
        return [Listing(at, active, frozenset(), None)] * 2
