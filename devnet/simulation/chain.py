"""A chain with the market of protocol.md on it, told by endpoints with opinions.

Implements `Market`, `Wakes` and `Transactor` for one agent; its `Witness` is beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.market import model as values
from agent.market.model import Address, BlockRef, JobId, Price, Wei
from agent.market.terms import Abilities
from agent.market.testimony import Listing, Story, Testimony, compare
from agent.markets.registry.terms import RegistryTerms
from agent.ports import Blocks, Call, Mined, Order, Wanted, always
from devnet.simulation import opinions
from devnet.simulation.blocks import Block, BlockChain, Tx
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import US
from devnet.simulation.opinions import Lie, Views
from devnet.simulation.protocol import Event, Job, Refusal, State
from faults import MustStop, Refused, RetryLater


@dataclass
class SimChain(BlockChain):
    """The registry as the agent's ports, without JSON-RPC between."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._heads = asyncio.Event()
        self._touched: set[JobId] = set()
        self._known: dict[int, tuple[Job, values.Job]] = {}

    def _news(self, block: Block) -> None:
        self._touched.update(JobId(e.args[0]) for e in block.logs if e.name.startswith(JOB_EVENTS))
        self._heads.set()

    # What the agent reads.

    def _seen(self, views: Views | None = None) -> list[Block]:
        lag = min((views or self.views).lag, len(self.blocks_) - 1)
        return self.blocks_[: len(self.blocks_) - lag] if lag else self.blocks_

    async def blocks(self) -> Blocks:
        await self.weather.before("chain.read")
        head, final = self.tips(self.views)
        return Blocks(head, final)

    def tips(self, views: Views) -> tuple[BlockRef, BlockRef]:
        """The newest block and the newest final one, as an endpoint tells them."""
        seen = self._seen(views)
        early = views.lie is Lie.FINAL_EARLY
        final = seen[-1 if early else max(0, len(seen) - 1 - self.depth)].ref
        return opinions.told(views, seen[-1].ref, final=False), opinions.told(
            views, final, final=True
        )

    def at(self, ref: BlockRef) -> Block:
        """Raises RetryLater: no endpoint knows this block (any more)."""
        if ref.number >= len(self.blocks_) or self.blocks_[ref.number].ref.hash != ref.hash:
            raise RetryLater(f"block {ref} is unknown")
        return self.blocks_[ref.number]

    @property
    def abilities(self) -> Abilities:
        return RegistryTerms.abilities

    async def terms(self, at: BlockRef) -> RegistryTerms:
        await self.weather.before("chain.read")
        return self.terms_told(self.views)

    def terms_told(self, views: Views) -> RegistryTerms:
        """The parameters as an endpoint tells them."""
        terms = opinions.terms(views, self.model.terms)
        return RegistryTerms(
            Wei(terms.stake_per_job), terms.job_bootstrapping, terms.job_startup,
            terms.job_exit_cool_down, terms.quorum,
        )  # fmt: skip

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, values.Job]:
        await self.weather.before("chain.read")
        return self.found(self.views, self.at(at).state, ids)

    def found(self, views: Views, state: State, ids: Sequence[JobId]) -> dict[JobId, values.Job]:
        """The jobs of a state as an endpoint tells them; those it does not know are left out."""
        told = {number: opinions.job(views, state, number) for number in ids}
        return {number: self._value(job, state) for number, job in told.items() if job}

    def _value(self, job: Job, state: State) -> values.Job:
        """A lie is a new one each time: only what is true is remembered."""
        known = job.id <= len(state.jobs) and state.jobs[job.id - 1] is job
        return self.value(job) if known else as_value(job)

    def story(self, views: Views, ids: Sequence[JobId], at: BlockRef) -> Story:
        """What an endpoint testifies at a block. Raises RetryLater: it has no such block."""
        block = self.at(at)
        if at.number >= len(self._seen(views)):
            raise RetryLater(f"block {at} is unknown to one endpoint")
        _, final = self.tips(views)
        told = opinions.told(views, block.ref, final=at.number <= final.number)
        return Story(
            told, final.number, self.terms_told(views), self.found(views, block.state, ids)
        )

    def listing(self, views: Views, since: int | None) -> Listing:
        """What an endpoint lists at its own newest block, and the jobs of its logs since."""
        seen = self._seen(views)
        state, first = seen[-1].state, len(seen) - 1 if since is None else since
        named = {e.args[0] for block in seen[first:] for e in block.logs if self._tells(views, e)}
        active = opinions.active(views, state, US)
        stake = opinions.total_stake(views, state.total[US])
        most = stake // self.model.terms.stake_per_job
        return Listing(seen[-1].ref, frozenset(map(JobId, active)), frozenset(named), most)

    def _tells(self, views: Views, event: Event) -> bool:
        if views.deaf or not event.name.startswith(JOB_EVENTS):
            return False
        return not opinions.hidden(views, self.model.state, event.args[0])

    def value(self, job: Job) -> values.Job:
        """One job as the agent's types have it; made once for each state of it."""
        known = self._known.get(id(job))
        if known is None:
            known = self._known[id(job)] = (job, as_value(job))
        return known[1]

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        await self.weather.before("chain.read")
        state = self.at(at).state
        return [JobId(number) for number in opinions.active(self.views, state, US)]

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        await self.weather.before("chain.read")
        found = self.at(at).state.listings.get((instance_type, US))
        return Price(found[0]) if found else None

    def took(self, job: values.Job, *, bought: bool) -> Price | None:
        """Its price stays as it is."""
        return None

    def forget(self, job: JobId) -> None:
        """Nothing was taken down."""

    async def rival(self, instance_type: str, at: BlockRef) -> Price | None:
        return None  # no storm has prices by rule

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        return {}

    async def openings(self, at: BlockRef) -> int:
        await self.weather.before("chain.read")
        state = self.at(at).state
        free: int = state.total[US] - state.locked[US]
        return free // int(self.model.terms.stake_per_job)

    async def wait(self) -> Sequence[JobId]:
        await self._heads.wait()
        self._heads.clear()
        touched, self._touched = self._touched, set()
        await self.weather.before("chain.events")
        if self.views.deaf:
            return []
        state = self.model.state
        heard = [job for job in touched if not opinions.hidden(self.views, state, job)]
        return sorted(heard) * (3 if self.views.echo else 1)

    # What the agent sends.

    async def carry_out(self, order: Order, wanted: Wanted = always) -> Mined:
        """As `agent.chain.transactions` does: simulated, recorded, sent, followed into a block."""
        await self.weather.before("chain.send")
        tx = self.log.get(order.key)
        if tx is None:
            if not wanted():
                raise RetryLater("its reason has gone", after_seconds=0.0)
            tx = self._new(order)
        while tx.block is None:
            await tx.done.wait()
        await self.weather.after("chain.send")
        if tx.reverted:
            raise Refused(f"{tx.function} reverts: {tx.reverted}")
        return Mined(f"0x{order.key}", tx.block or 0, 1)

    def _new(self, order: Order) -> Tx:
        function, args = call_of(order)
        same = self._on_its_way(function, args, order)
        if same is None:
            self._simulate(function, args)
        if self.disk_full:
            raise MustStop(f"transaction {order.key} can't be recorded: disk full")
        tx = same or Tx(US, function, args)
        tx.key = order.key
        self.log[order.key] = tx
        if same is None:
            self.pool.append(tx)
            self.on_sent(tx, order)
        return tx

    def _on_its_way(self, function: str, args: tuple[Any, ...], order: Order) -> Tx | None:
        """As Transactions has it: the same call that waits, or was mined later than the block that
        this was decided on (a fork may have moved it), answers for any key."""
        known = (tx for tx in (*self.pool, *self.log.values()) if tx.sender == US)
        for tx in known:
            mined = tx.block is not None and order.as_of is not None and tx.block > order.as_of
            news = tx.block is None or (mined and not tx.reverted)
            if news and (tx.function, tx.args) == (function, args):
                return tx
        return None

    def _simulate(self, function: str, args: tuple[Any, ...]) -> None:
        """eth_call on the newest block that the endpoint knows."""
        before, now = self.model.state, self.model.now
        seen = self._seen(self.views)[-1]
        self.model.state, self.model.now = seen.state, max(int(self.clock.now()), now)
        try:
            self.model.call(US, function, *args)
        except Refusal as refusal:
            raise Refused(f"{function} would revert: {refusal}") from None
        finally:
            self.model.state, self.model.now = before, now

    def restart(self) -> None:
        """A new process begins at the head and has heard of nothing before."""
        self._touched = set()


JOB_EVENTS = ("Job", "Funds", "Exit")
_REASONS = {reason.value: reason for reason in values.StopReason}


def as_value(job: Job) -> values.Job:
    """The model's job in the agent's types."""
    return values.Job(
        id=JobId(job.id),
        user=Address(job.user),
        provider=Address(job.provider),
        instance_type=job.instance_type,
        max_price=Price(job.max_price),
        price=Price(job.price),
        enclave_url=job.enclave_url,
        generation=job.generation,
        status=values.JobStatus(job.status),
        stop_reason=_REASONS[job.stop_reason],
        assigned_at=job.assigned_at,
        started_at=job.started_at,
        exit_requested_at=job.exit_requested_at,
        stopped_at=job.stopped_at,
        escrow=Wei(job.escrow),
        settled_until=job.settled_until,
        endpoint=job.endpoint,
    )


def call_of(order: Order) -> tuple[str, tuple[Any, ...]]:
    """The contract's function and its arguments."""
    match order.call:
        case Call.REPORT_STARTED:
            return order.call.value, (order.job, order.endpoint)
        case Call.REGISTER:
            return order.call.value, (order.instance_type, order.price.raw if order.price else 0)
        case Call.DEREGISTER:
            return order.call.value, (order.instance_type,)
        case _:
            return order.call.value, (order.job,)


@dataclass
class SimSecondEndpoint:
    """`Witness`: the agent's own endpoint against a second one, which is silent sometimes.

    `views` is what the second gets wrong.
    """

    chain: SimChain
    weather: Weather
    views: Views = field(default_factory=Views)
    _compared: int | None = None

    async def testify(self, ids: Sequence[JobId], at: BlockRef) -> Testimony:
        await self.weather.before("witness.read")
        await self.weather.before("chain.read")
        told = [self.chain.story(views, ids, at) for views in (self.chain.views, self.views)]
        return compare(at, ids, told, of=2)

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        await self.weather.before("witness.read")
        return await self.chain.offer(instance_type, at)

    async def lists(self) -> Sequence[Listing]:
        await self.weather.before("witness.read")
        await self.weather.before("chain.read")
        found = [self.chain.listing(v, self._compared) for v in (self.chain.views, self.views)]
        self._compared = min(one.at.number for one in found) + 1
        return found
