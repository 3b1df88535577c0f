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
from agent.market.testimony import Listing, Story, Testimony, alike, compare
from agent.markets.registry.terms import RegistryTerms
from agent.ports import Blocks, Call, Clock, Mined, Order, Wanted, always
from devnet.simulation.contract import SimContract
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import OTHER, US, USER
from faults import Refused, RetryLater

Transaction = Callable[[int], None]


@dataclass
class Waiting:
    """A transaction that waits for its block."""

    key: str
    run: Transaction
    done: asyncio.Future[Mined]


@dataclass
class SimMarket(SimContract):
    """Chain and contract. `depth` blocks under the head are final."""

    clock: Clock
    weather: Weather
    block_seconds: float = 12.0
    depth: int = 5
    rivals: dict[str, Price] = field(default_factory=dict)  # the cheapest of others, by type
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

    def took(self, job: Job, *, bought: bool) -> Price | None:
        """Its price stays as it is."""
        return None

    def forget(self, job: JobId) -> None:
        """Nothing was taken down."""

    async def rival(self, instance_type: str, at: BlockRef) -> Price | None:
        await self.weather.before("chain.read")
        return self.rivals.get(instance_type)

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        return {}

    async def openings(self, at: BlockRef) -> int:
        active = sum(j.provider == US and not j.is_stopped for j in self.jobs_.values())
        return self.stake // self.terms_.stake_per_job - active

    async def wait(self) -> Sequence[JobId]:
        await self._heads.wait()
        self._heads.clear()
        await self.weather.before("chain.events")
        touched, self.touched = self.touched, set()
        return sorted(touched)

    # What the agent sends: `Transactor`.

    async def carry_out(self, order: Order, wanted: Wanted = always) -> Mined:
        if order.key in self._mined:
            return self._mined[order.key]
        await self.weather.before("chain.send")
        run = self._call(order)
        done: asyncio.Future[Mined] = asyncio.get_running_loop().create_future()
        pending = next((one for one in self._waiting if one.key == order.key), None)
        if pending is None:
            if not wanted():
                raise RetryLater("its reason has gone", after_seconds=0.0)
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
        touched = set(self.touched)
        try:
            self._call(order)(int(self.clock.now()))
        finally:
            self.jobs_, self.offers, self.earned, self.refunded = before
            self.touched = touched

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


@dataclass
class SimWitness:
    """A second endpoint on the same chain, with faults and opinions of its own."""

    market: SimMarket
    weather: Weather
    lies: Callable[[Mapping[JobId, Job]], Mapping[JobId, Job]] | None = None
    offers_told: Mapping[str, Price] | None = None  # what the market's own endpoint claims instead

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

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        await self.weather.before("witness.read")
        honest = await self.market.offer(instance_type, at)
        claimed = honest if self.offers_told is None else self.offers_told.get(instance_type)
        return alike([claimed, honest], f"the listing of {instance_type} at block {at}")

    async def lists(self) -> Sequence[Listing]:
        await self.weather.before("witness.read")
        at = (await self.market.blocks()).head
        active = frozenset(await self.market.active_jobs(at))
        return [Listing(at, active, frozenset(), None)] * 2
