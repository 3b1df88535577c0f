"""What feeds the agenda: new heads, looks at the fleet, the operator's orders, resyncs.

Each is a small endless task. None decides anything: they say "look at job N again", and keep the
agent's view of cloud, offers and orders current.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence

import structlog

from agent.apply.params import sweep_params
from agent.apply.sweep import renew_orders, sweep_images, sweep_mailboxes
from agent.journal.asked_ends import AskedEnd, asked_ends, confirmed
from agent.journal.orders import OrderKind, OrderRecord
from agent.load.remembered import JobMemory
from agent.loop.market_changes import MarketChanges
from agent.loop.state import LoopState
from agent.market.model import JobId
from agent.market.testimony import VOICES
from agent.ports import Wakes
from cloud.model import Region
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

REST_A_LOOK = 2.0  # of what the last look took
LEAST_RELIST_SECONDS = 5.0
RELISTS = 12  # within the time to bring a job up, of which that takes a good part
UNKNOWN_WINDOW_SECONDS = 120.0  # of a market of which no job has been seen yet
# Jobs that logs name and that never were ours, looked at for a while each. A node's logs may name
# any number; what is ours of them is in the lists, which are compared beside.
MOST_STRANGE = 1_000
CHAIN_SECONDS = 2.0  # between attempts to read a chain that does not answer
SETTLED = frozenset({"running", "exiting", "refused", "missed"})  # nothing moves in AWS
_CONFIRM = OrderKind.CONFIRM_TERMINATIONS
GONE = frozenset({"unknown", "reassigned", "stopped"})  # nor for these, once no host is left


class Feeds:
    """The endless tasks of one agent's loop, by name."""

    def __init__(self, state: LoopState, wakes: Wakes) -> None:
        self._state = state
        self._wakes = wakes
        self._named: set[JobId] = set()  # by the logs since the last comparison
        self._changes = MarketChanges(state)

    def all(self) -> Mapping[str, Coroutine[None, None, None]]:
        """Every feed, ready to be made a task."""
        looks = {f"look:{one}": self._look_for_ever(one) for one in self._state.sources.regions}
        return {
            "heads": self._follow_heads(),
            "orders": self._follow_orders(),
            "resync": self._resync_for_ever(),
            "relist": self._relist_for_ever(),
            "asking": self._state.loader.asking.follow(),
            "offers": self._tend_offers(),
            "sweep": self._sweep_for_ever(),
            **looks,
        }

    async def _follow_heads(self) -> None:
        while True:
            changed = self._of_logs(await self._wakes.wait())
            self._named.update(changed)
            for job in changed:
                # Something happened to it: if it seems gone, that is news and may be wrong.
                if (known := self._state.world.memory.jobs.get(job)) is not None:
                    known.gone_since = None
            self._state.agenda.wake(changed)

    def _of_logs(self, named: Collection[JobId]) -> Collection[JobId]:
        """As many of these as are looked at on a node's word; those that are tended always."""
        memory, stake_is_for = self._state.world.memory.jobs, self._state.world.memory.stake_is_for
        new = sorted(job for job in named if job not in memory)
        if not new:
            return named
        strange = sum(not known.served for known in memory.values())
        room = max(0, MOST_STRANGE + (stake_is_for or 0) - strange)
        if len(new) <= room:
            return named
        log.warning("events.too_many", named=len(new), looked_at=room)
        return {job for job in named if job in memory}.union(new[:room])

    async def _follow_orders(self) -> None:
        while True:
            await self._take_orders()
            await self._state.world.clock.sleep(self._state.rules.service.orders_seconds)

    async def _take_orders(self) -> None:
        """What was ordered since; asked again in a second where the journal is held or away."""
        taken, orders = self._state.world.memory.orders.taken, self._state.orders
        try:
            found = await self._state.aside(lambda: orders.after(taken.last, tuple(taken.missing)))
            ends = await self._asked_ends(found)
        except RetryLater as later:
            log.info("orders.later", error=str(later))
            return
        for order in taken.take(found, self._state.now()):
            for job in confirmed(order, ends) if order.kind == _CONFIRM else ():
                self._state.world.memory.job(job).end_confirmed = True
            self._take_order(order)

    async def _asked_ends(self, found: Sequence[OrderRecord]) -> Mapping[JobId, AskedEnd]:
        """What a confirmation may be about, as the journal has it. Raises RetryLater."""
        if not any(order.kind == _CONFIRM for order in found):
            return {}
        await self._state.world.journal.caught_up()
        return await self._state.restoring(lambda: asked_ends(self._state.reader.engine))

    def _take_order(self, order: OrderRecord) -> None:
        orders = self._state.world.memory.orders
        if order.kind == OrderKind.EXIT and order.job is not None:
            orders.exits.add(order.job)
        elif order.kind == OrderKind.EXIT_ALL:
            orders.exit_all_at = order.at
        elif order.kind == OrderKind.CANCEL_EXIT_ALL:
            orders.exit_all_at = None
        elif order.kind == OrderKind.YIELD:
            self._state.leadership.yield_to_others(str(order.fields.get("term", "")))
        elif order.kind in (OrderKind.PAUSE, OrderKind.RESUME):
            orders.paused = order.kind == OrderKind.PAUSE
            if order.kind == OrderKind.RESUME:
                orders.resumed = order
            self._state.offering.pressed = True
        elif order.kind in (OrderKind.OFFER, OrderKind.REMOVE_OFFER):
            self._state.take_offer(order)
        self._state.drain.ordered = orders.exit_all_at is not None
        self._state.agenda.wake(self._state.world.memory.jobs)

    async def _resync_for_ever(self) -> None:
        while True:
            pause = self._state.rules.service.resync_seconds
            await self._state.world.clock.sleep(await self._later(self.resync, pause))

    async def _relist_for_ever(self) -> None:
        await self._state.looked.wait()
        while True:
            await self._later(self._changes.look, 0.0)
            pause = await self._later(self.compare, self._relist_pause())
            await self._pause_relist(pause)
            await self._later(self.relist, pause)

    async def _pause_relist(self, seconds: float) -> None:
        """Cut short when a job with less time is seen meanwhile."""
        waited = 0.0
        while waited < min(seconds, self._relist_pause()):
            step = min(LEAST_RELIST_SECONDS, seconds - waited)
            await self._state.world.clock.sleep(step)
            waited += step

    def _relist_pause(self) -> float:
        """Often enough that a job which a node hides, or of which no event tells (a plan without
        logs, a backend that answers no logs of blocks that it has not indexed), is seen while it
        can still be started."""
        most, memory = self._state.rules.service.relist_seconds, self._state.world.memory
        views = (known.view for known in memory.jobs.values() if known.view)
        windows = [view.deadline - view.head.assigned_at for view in views if view.head]
        window = min(windows, default=UNKNOWN_WINDOW_SECONDS)
        return min(most, max(LEAST_RELIST_SECONDS, window / RELISTS))

    async def _later(self, look: Callable[[], Awaitable[None]], pause: float) -> float:
        """Seconds until the next one: `pause`, or soon when the chain did not answer."""
        try:
            await look()
        except (RetryLater, TryElsewhere) as later:
            log.warning("service.resync_later", error=str(later))
            return CHAIN_SECONDS
        return pause

    async def resync(self) -> None:
        """Look at everything: what the cloud has first, then what the chain lists (rule 6)."""
        fleet, market = self._state.world.fleet, self._state.sources.market
        looks = (fleet.look(region) for region in self._state.sources.regions)
        changed = set[JobId]().union(*await asyncio.gather(*looks))
        self._state.looked.set()
        await self._press(changed)
        blocks = await market.blocks()
        listed = await market.active_jobs(blocks.head)
        self._state.agenda.wake({*listed, *fleet.jobs(), *self._state.world.memory.jobs})
        self._state.progress.resynced_at = self._state.now()

    async def _press(self, changed: set[JobId]) -> None:
        """After a takeover, before all jobs are read: have what was heard lately acted on, and what
        the cloud did not show at the look before. To read thousands takes longer than what presses
        can wait; and the ends in a turn wait for its last read."""
        pressing, self._state.pressing = self._state.pressing, set()
        if pressing:
            self._state.agenda.wake(changed.union(self._of_logs(pressing)))
            await self._state.pressed.wait()

    async def relist(self) -> None:
        """Look at jobs of which the chain's list and this memory differ.

        One call between two resyncs: an endpoint that answered empty, or an event that was lost,
        hides a job no longer than this. Raises RetryLater.
        """
        market = self._state.sources.market
        listed = await market.active_jobs((await market.blocks()).head)
        known = self._state.world.memory.jobs.values()
        ours = {job.id for job in known if job.view is not None and job.view.ours}
        self._state.agenda.wake(ours.symmetric_difference(listed))

    async def compare(self) -> None:
        """Ask absence twice: what any endpoint lists or its logs name, and the others don't, is
        looked at again, with every endpoint's word on it. Raises RetryLater."""
        witness, memory = self._state.sources.witness, self._state.world.memory
        if witness is None:
            return
        named, self._named = self._named, set()
        lists = await witness.lists()
        listed = set[JobId]().union(*(one.active for one in lists))
        ours = {job.id for job in memory.jobs.values() if job.view is not None and job.view.ours}
        for job in listed - ours:
            memory.job(job).watched = True
        hidden = set[JobId]().union(*(one.named for one in lists)) - named
        differ = set[JobId]().union(*(listed - one.active for one in lists))
        if differ or hidden:
            log.info("endpoints.compared", differ=sorted(differ), hidden=sorted(hidden))
        hidden = set(self._of_logs(hidden))
        self._state.agenda.wake((listed ^ ours) | hidden | (differ & set(memory.jobs)))
        told, count = Counter(one.stake_is_for for one in lists).most_common(1)[0]
        if count >= VOICES:
            memory.stake_is_for = told

    async def _look_for_ever(self, region: Region) -> None:
        """After the first look, which is the resync's: two at a time would read all twice."""
        await self._state.looked.wait()
        took = 0.0
        while True:
            await self._pause_looks(region, REST_A_LOOK * took)
            begun = self._state.now()
            self._state.agenda.wake(await self._state.world.fleet.look(region))
            took = self._state.now() - begun

    async def _pause_looks(self, region: Region, rest: float) -> None:
        """The calm pause, cut short when something of the region gets on its way meanwhile; never
        shorter than `rest` seconds: looks at thousands are work, and all else waits for it."""
        rules, waited = self._state.rules.service, 0.0
        step = min(max(rules.busy_look_seconds, rest), rules.calm_look_seconds)
        while waited < rules.calm_look_seconds:
            await self._state.world.clock.sleep(step)
            waited += step
            step = rules.busy_look_seconds
            if self._busy(region):
                return

    def _busy(self, region: Region) -> bool:
        """Whether anything in the region is on its way up or down."""
        return any(
            job.stage not in SETTLED and _moves(job) and _region_of(job) in (region, None)
            for job in self._state.world.memory.jobs.values()
        )

    async def _tend_offers(self) -> None:
        state = self._state
        while True:
            await self._pause_offers()
            try:
                if state.pricing is not None:
                    await state.pricing.look()
                self._show_cards()
                await state.offering.tend(closed=state.closed)
                for offered in state.offering.prices:  # rate cards say what an enclave gets
                    await state.loader.learn_room(offered)
            except (RetryLater, TryElsewhere) as later:
                log.warning("offers.later", error=str(later))
            state.drain.listed = state.offering.listed
            if state.drain.ordered:
                state.agenda.wake(state.world.memory.jobs)

    def _show_cards(self) -> None:
        """Have it known, to the journal too, what our cards ask where no chain lists it."""
        state = self._state
        if not state.sources.market.abilities.lists_on_chain:
            tell = state.world.journal.event
            state.world.memory.cards.show(state.offering.asks, state.now(), tell)

    async def _pause_offers(self) -> None:
        """Until the next probe; neither an order nor offers to withdraw (in a drain, or of what
        can't be launched) wait for it."""
        state, step = self._state, self._state.rules.service.orders_seconds
        probe = state.offering.rules.probe_seconds if state.offering.listed is not None else step
        waited, step = 0.0, min(step, probe)
        while waited < probe:
            await state.world.clock.sleep(step)
            waited += step
            if (
                state.offering.pressed
                or state.offering.urgent
                or (state.drain.ordered and not state.drain.leaving)
            ):
                return

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._state.world.clock.sleep(self._state.rules.service.sweep_seconds)
            grace, world = self._state.rules.service.orphan_grace_seconds, self._state.world
            await sweep_mailboxes(world, grace)
            await renew_orders(world, self._state.sources.regions)
            if self._state.progress.resynced_at is not None:
                await sweep_images(world, self._state.sources.regions, grace)
                await sweep_params(world, self._state.sources.regions, grace)


def _moves(job: JobMemory) -> bool:
    """One that was not read yet does not: thousands are read after a start, beside looks."""
    return job.view is not None and (job.stage not in GONE or bool(job.view.hosts))


def _region_of(job: JobMemory) -> Region | None:
    kind = job.view.instance_type if job.view else None
    return Region(kind.region) if kind else None
