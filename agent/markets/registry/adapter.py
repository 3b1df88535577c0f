"""One provider's view of the market, as the agent's core asks for it (`agent.ports`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from agent import ports
from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader, Log
from agent.chain.head import (
    Finality,
    Head,
    HeadFollower,
    HeadTracker,
    block_ref,
    block_request,
)
from agent.chain.rpc import NodeRefused, Rpc
from agent.chain.transactions import Call, Confirmed, Reverted, Transactions, Waiting
from agent.clock import passed
from agent.market.model import Address, BlockNumber, BlockRef, Job, JobId, Price
from agent.market.terms import Abilities
from agent.market.testimony import VOICES, Listing, Story, Testimony, compare
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market
from agent.markets.registry.terms import RegistryTerms
from faults import Refused, RetryLater, TryElsewhere, UsageFault

log = structlog.get_logger()

FOLLOW_SECONDS = 1.0  # between two looks at what is in flight
# Nothing presses a settlement, and thousands can fall due at once: what is in flight fits one
# exchange, and a report or an exit finds the nonces and the loop free.
SETTLEMENTS_AT_ONCE = 50
MOST_LOGS = 1_000  # blocks that are compared at once: 33 minutes of 2 s each


@contextmanager
def _later() -> Iterator[None]:
    """What one endpoint could not tell leaves as RetryLater: there is no other to be tried."""
    try:
        yield
    except TryElsewhere as fault:
        raise RetryLater(str(fault)) from fault


class ProviderMarket:
    """`ports.Market`. Faults that another endpoint might not have leave as RetryLater."""

    @property
    def abilities(self) -> Abilities:
        return RegistryTerms.abilities

    def __init__(self, market: Market, tracker: HeadTracker, provider: Address) -> None:
        self._market = market
        self._tracker = tracker
        self._provider = provider

    async def blocks(self) -> ports.Blocks:
        with _later():
            head = await self._tracker.poll()
        return ports.Blocks(head.block, head.finalized)

    async def terms(self, at: BlockRef) -> RegistryTerms:
        with _later():
            return await self._market.params(at)

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        with _later():
            return await self._market.jobs(ids, at) if ids else {}

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        with _later():
            return await self._market.jobs_of(self._provider, at)

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        with _later():
            return await self._market.offer(self._provider, instance_type, at)

    async def openings(self, at: BlockRef) -> int:
        terms = await self.terms(at)
        with _later():
            stake = await self._market.stake_of(self._provider, at)
        return stake.unlocked // max(terms.stake_per_job, 1)


class SecondEndpoint:
    """`ports.Witness`: what different endpoints say, so that one is not the one that claimed it.

    Only for `endpoints.count >= 2`; with one endpoint there is no witness. `jobs_in` names the jobs
    that logs speak of, as for the reader of events.
    """

    def __init__(
        self,
        market: Market,
        endpoints: Endpoints,
        provider: Address,
        finality: Finality,
        jobs_in: Callable[[Sequence[Log]], Collection[JobId]],
    ) -> None:
        self._market = market
        self._endpoints = endpoints
        self._provider = provider
        self._finality = finality
        self._jobs_in = jobs_in
        self._logs_from: int | None = None  # the block after those that were compared

    async def testify(self, ids: Sequence[JobId], at: BlockRef) -> Testimony:
        """Two are asked; where they differ, all are."""

        async def story(rpc: Rpc) -> Story:
            return await self._story(rpc, ids, at)

        count = self._endpoints.count
        with _later():
            told = compare(at, ids, await self._endpoints.voices(story), count)
            if told.disputed and count > VOICES:
                told = compare(at, ids, await self._endpoints.voices(story, count), count)
            return told

    async def _story(self, rpc: Rpc, ids: Sequence[JobId], at: BlockRef) -> Story:
        depth, market = self._finality.depth, self._market.through(rpc)
        tag = "finalized" if depth is None else "latest"
        block, final = await rpc.batch([block_request(at.number), block_request(tag)])
        number = BlockNumber(block_ref(final).number - (depth or 0))
        jobs = await market.jobs(ids, at) if ids else {}
        return Story(block_ref(block), number, await market.params(at), jobs)

    async def lists(self) -> Sequence[Listing]:
        with _later():
            found = await self._endpoints.voices(self._listing, self._endpoints.count)
        if len(found) < VOICES:
            raise RetryLater(f"{len(found)} RPC endpoints list this provider's jobs; two must")
        # From the lowest head on again: what another one hid in its newest blocks is seen then.
        self._logs_from = min(listing.at.number for listing in found) + 1
        return found

    async def _listing(self, rpc: Rpc) -> Listing:
        market = self._market.through(rpc)
        at = block_ref((await rpc.batch([block_request("latest")]))[0])
        active = await market.jobs_of(self._provider, at)
        stake, terms = await market.stake_of(self._provider, at), await market.params(at)
        most = stake.total // terms.stake_per_job
        return Listing(at, frozenset(active), await self._named(rpc, at), most)

    async def _named(self, rpc: Rpc, at: BlockRef) -> frozenset[JobId]:
        """The jobs of the logs since the last comparison; none of a range that is too wide: what
        matters of them is in the list of jobs, too."""
        first = at.number if self._logs_from is None else min(self._logs_from, at.number)
        try:
            logs = await self._market.through(rpc).job_logs(max(first, at.number - MOST_LOGS), at)
        except NodeRefused as refused:
            log.info("witness.no_logs", endpoint=str(rpc.url), error=str(refused))
            return frozenset()
        return frozenset(self._jobs_in(logs))


class ChainWakes:
    """`ports.Wakes`: heads and the jobs whose events came with them. Remembers its cursor."""

    def __init__(
        self,
        follower: HeadFollower,
        events: EventReader,
        cursor: Cursor | None = None,
        save: Callable[[Cursor], None] = lambda cursor: None,
    ) -> None:
        self._heads = follower.heads()
        self._events = events
        self._cursor = cursor
        self._save = save
        self._next: asyncio.Task[Head] | None = None

    async def wait(self) -> Sequence[JobId]:
        """Cancelling it loses nothing: the next call takes up the same head."""
        if self._next is None:
            self._next = asyncio.create_task(_first_of(self._heads))
        head = await asyncio.shield(self._next)
        self._next = None
        return await self._changes(head)

    async def close(self) -> None:
        """End the polling and the subscription."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._heads.aclose()

    async def _changes(self, head: Head) -> Sequence[JobId]:
        try:
            changes = await self._events.changes(self._cursor, head)
        except (RetryLater, TryElsewhere) as fault:
            log.warning("chain.no_events", error=str(fault))
            return []
        if changes.cursor != self._cursor:
            self._cursor = changes.cursor
            self._save(changes.cursor)
        return sorted(changes.jobs)


async def _first_of(heads: AsyncGenerator[Head, None]) -> Head:
    return await anext(heads)


class MarketTransactor:
    """`ports.Transactor` over Transactions: waits for a block, and keeps all in flight moving."""

    def __init__(self, transactions: Transactions, calls: Calls, clock: ports.Clock) -> None:
        self._transactions = transactions
        self._calls = calls
        self._clock = clock
        self._looked_at = 0.0
        self._looking = False
        self._settling = asyncio.Semaphore(SETTLEMENTS_AT_ONCE)

    async def carry_out(self, order: ports.Order) -> ports.Mined:
        if order.call is not ports.Call.SETTLE:
            return await self._carry_out(order)
        async with self._settling:
            return await self._carry_out(order)

    async def _carry_out(self, order: ports.Order) -> ports.Mined:
        call, key = self._call(order), order.key
        while True:
            state = await self._transactions.submit(call, key=key, job=order.job, as_of=order.as_of)
            key = state.key
            if isinstance(state, Confirmed):
                return ports.Mined(state.tx_hash, state.block, state.fee)
            if isinstance(state, Reverted):
                raise Refused(f"{call.label} reverts: {state.reason}")
            if isinstance(state, Waiting):
                after = state.retry_at - self._clock.now()
                raise RetryLater(f"{call.label} waits: {state.message}", after_seconds=after)
            await self._look()
            if self._transactions.came_to_nothing(key):
                # A fork may have made the job another one: whoever ordered this decides anew.
                text = f"{call.label} changed nothing in its block; it may be ordered again"
                raise RetryLater(text, after_seconds=0.0)

    async def _look(self) -> None:
        """One look serves all that wait, however long it takes; between two, sleep."""
        if self._looking or not passed(self._clock.now(), self._looked_at, FOLLOW_SECONDS):
            return await self._clock.sleep(FOLLOW_SECONDS / 4)
        self._looking, self._looked_at = True, self._clock.now()
        try:
            await self._transactions.pump()
        finally:
            self._looking = False

    def _call(self, order: ports.Order) -> Call:
        calls = self._calls
        match order:
            case ports.Order(call=ports.Call.REPORT_STARTED, job=int(job), endpoint=str(endpoint)):
                return calls.report_started(JobId(job), endpoint)
            case ports.Order(call=ports.Call.SETTLE, job=int(job)):
                return calls.settle(JobId(job))
            case ports.Order(call=ports.Call.REQUEST_EXIT, job=int(job)):
                return calls.request_exit(JobId(job))
            case ports.Order(call=ports.Call.FINALIZE_EXIT, job=int(job)):
                return calls.finalize_exit(JobId(job))
            case ports.Order(call=ports.Call.REGISTER, instance_type=str(kind), price=Price() as p):
                return calls.register(kind, p)
            case ports.Order(call=ports.Call.DEREGISTER, instance_type=str(kind)):
                return calls.deregister(kind)
        raise UsageFault(f"order {order.key} lacks what {order.call} takes")
