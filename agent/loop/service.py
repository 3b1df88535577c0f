"""The loop: wake, load, decide, apply; and what keeps it turning until it is told to stop.

Four small tasks feed one agenda: new heads, looks at the fleet, the operator's orders, resyncs.
The main loop takes what is due, loads it at one block, plans each job, asks the breaker, and
starts the effects, closest deadline first. Effects run as tasks of their own; when one ends, its
job is looked at again. Stopping cancels tasks and touches no instance.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from agent.apply.buying import Buying
from agent.apply.in_flight import InFlight
from agent.clock import passed
from agent.decide import keepalive, termination_breaker
from agent.decide.deadline import Budget
from agent.decide.job_view import CALM, JobView
from agent.decide.keepalive import Answers, Doubt
from agent.decide.lifecycle import LifecycleRules, plan
from agent.decide.plan import Launch, Plan, RequestExit, Terminate
from agent.decide.refusal import vet
from agent.journal.lines import END_TAKEN_BACK, HELD
from agent.load.loader import parts
from agent.load.unchanged import quiet
from agent.loop.feeds import CHAIN_SECONDS, Feeds
from agent.loop.noting import note
from agent.loop.restore import remember
from agent.loop.standby import stand_by
from agent.loop.state import LoopState, Progress
from agent.market.model import JobId
from agent.ports import Wakes
from faults import Bug, Fault, MustStop, RetryLater, TryElsewhere

log = structlog.get_logger()

UNREAD_SECONDS = 10.0  # for which the chain is read by nobody before that is an error in the log


@dataclass(frozen=True, slots=True)
class _Learnt:
    """Rules with a learnt budget, made once for all jobs that are decided by them."""

    configured: LifecycleRules | None = None
    budget: Budget | None = None
    rules: LifecycleRules = field(default_factory=LifecycleRules)


class Agent:
    """One provider's agent over its ports. `run` returns when `stop` was called."""

    def __init__(self, state: LoopState, wakes: Wakes) -> None:
        self._state = state
        self._wakes = wakes
        self._world = state.world
        self._agenda = state.agenda
        self._loader = state.loader
        self.doubt = Doubt()
        self.on_turn: Callable[[Progress], None] = lambda progress: None
        self._learnt = _Learnt()
        self._in_flight = InFlight(state.world, state.agenda, self._break)
        asking = state.loader.asking
        self._buying = Buying(state.world, state.agenda, asking.ask, self._in_flight.launching)
        asking.on_news = state.agenda.wake
        self._stopping = asyncio.Event()
        self._began = 0.0  # unix seconds: since then this host leads
        self._fatal: Fault | None = None
        state.leadership.break_ = self._break
        state.adopt()

    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """The effects that are in flight."""
        return self._in_flight.tasks()

    def stop(self) -> None:
        """End within seconds; running enclaves are not touched."""
        self._stopping.set()
        self._agenda.woken.set()

    async def stopped(self) -> None:
        """Returns when `stop` was called."""
        await self._stopping.wait()

    async def run(self) -> None:
        """Until `stop`. Raises MustStop when going on would do harm, Bug when a loop broke."""
        stood_by = await stand_by(self._state, self._wakes, self._stopping, self._lives)
        if self._stopping.is_set():
            self._raise_fatal()
            return
        self._began = self._state.now()
        await remember(self._state, self._stopping, self._lives, stood_by=stood_by)
        feeds = Feeds(self._state, self._wakes).all()
        feeders = [asyncio.create_task(feed, name=name) for name, feed in feeds.items()]
        for feeder in feeders:
            feeder.add_done_callback(self._feeder_ended)
        try:
            await self._turn_for_ever()
        finally:
            await self._end_tasks([*feeders, *self._in_flight.tasks()])
            await self._world.journal.caught_up()
        self._raise_fatal()

    def _lives(self) -> None:
        """A standby's sign of life, for whoever watches over the process."""
        self._state.progress.finished_at = self._state.now()
        self.on_turn(self._state.progress)

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    async def _end_tasks(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _feeder_ended(self, task: asyncio.Task[None]) -> None:
        """A feeder never ends by itself. What breaks it ends us: a MustStop for good, anything
        else is a bug, and a fresh process goes on where this one was."""
        if task.cancelled():
            return
        broken = task.exception()
        text = f"the agent's {task.get_name()} loop broke: {broken!r}"
        log.error("service.broken", loop=task.get_name(), error=repr(broken), exc_info=broken)
        self._break(broken if isinstance(broken, MustStop) else Bug(text))

    def _break(self, fatal: Fault) -> None:
        """Stop, and have `run` raise this."""
        self._fatal = fatal
        self.stop()

    # The main loop.

    async def _turn_for_ever(self) -> None:
        await self._first_look()
        while not self._stopping.is_set():
            await self._wait()
            if self._stopping.is_set():
                return
            begun = self._state.now()
            self._pass_over(begun)
            ids = self._agenda.take(begun)
            if ids:
                await self._turn_over(ids)
                self._note_turn(ids)
            self._world.journal.flush_soon()
            self._state.progress.finished_at = self._state.now()
            self._state.progress.turn_seconds = self._state.now() - begun
            self._state.progress.turns += 1
            self.on_turn(self._state.progress)

    def _note_turn(self, ids: Sequence[JobId]) -> None:
        """The first one ends a start, or a takeover: what presses was decided."""
        if not self._state.pressed.is_set():
            log.info("service.decided", jobs=len(ids), seconds=self._state.now() - self._began)
            self._state.pressed.set()

    def _pass_over(self, now: float) -> None:
        """Calm jobs of which their time alone asks for nothing wait on; the others are read."""
        unread, rules = self._state.rules.service.resync_seconds, self._rules_learnt()
        for job in self._agenda.due(now):
            known = self._world.memory.jobs.get(job)
            decided = quiet(
                known,
                self._loader,
                rules,
                now,
                drained=self._state.drained,
                unread_seconds=unread,
            )
            if decided is None:
                self._agenda.wake([job])
            else:
                self._put_off(job, decided)

    async def _first_look(self) -> None:
        looked = asyncio.create_task(self._state.looked.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({looked, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looked.cancel()
            stopping.cancel()

    async def _wait(self) -> None:
        """Until something wakes us, a time comes, or a heartbeat of the loop is due."""
        rules, now = self._state.rules.service, self._state.now()
        due = self._agenda.next_time()
        pause = rules.heartbeat_seconds
        if due is not None:
            pause = min(pause, max(due - now, 0.0))
        if not self._agenda.woken.is_set():
            await self._sleep_unless_woken(max(pause, rules.least_tick_seconds))
        rest = self._state.progress.finished_at + rules.least_tick_seconds - self._state.now()
        if 0 < rest <= rules.least_tick_seconds and not self._stopping.is_set():
            await self._world.clock.sleep(rest)

    async def _sleep_unless_woken(self, seconds: float) -> None:
        woken = asyncio.create_task(self._agenda.woken.wait())
        slept = asyncio.create_task(self._world.clock.sleep(seconds))
        try:
            await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    async def _turn_over(self, ids: Sequence[JobId]) -> None:
        """One turn: all of `ids` loaded at one block, decided, and acted on.

        A crowd is read in parts, what presses first: the first launches do not wait for the last
        read. Ends wait for all parts, since the breaker has to see how many there are.
        """
        now, health = self._state.now(), self._state.rules.lifecycle.health
        self.doubt = keepalive.reconsider(self.doubt, self._answers(now), now, health)
        doubt, decided = self.doubt.holds(now, health), list[tuple[JobView, Plan]]()
        try:
            frame = await self._loader.frame()
            for part in parts(sorted(ids, key=self._presses)):
                views = await self._loader.load(
                    part, frame, drained=self._state.drained, doubt=doubt, unfit=self._unfit
                )
                decided += self._act([(view, self._plan(view)) for view in views])
        except (RetryLater, TryElsewhere) as later:
            self._chain_is_down(ids, later)
            return
        self._chain_is_up()
        self._end(decided)

    def _presses(self, job: JobId) -> tuple[float, float, JobId]:
        """New jobs first, then by the slash points that are known of, then what is not calm.

        After a start all are new: those whose one host is well go last, the youngest of them
        first, so that what has to be done does not wait for thousands of which nothing is due.
        """
        known = self._world.memory.jobs.get(job)
        if known is not None and known.view is not None:
            calm = float(known.stage == CALM)
            return (known.deadline if known.deadline is not None else math.inf, calm, job)
        serves_since = self._world.fleet.serves_since(job)
        return (0.0, 0.0, job) if serves_since is None else (math.inf, -serves_since, job)

    def _plan(self, view: JobView) -> Plan:
        return plan(view, self._state.now(), self._rules_learnt())

    def _unfit(self, view: JobView) -> bool:
        """Whether the policy would refuse it: of two stories the one that can be served counts."""
        return bool(vet(view, self._state.rules.lifecycle.policy))

    def _rules_learnt(self) -> LifecycleRules:
        """The configured rules, with stages as long as they have been seen to take."""
        rules, budget = self._state.rules.lifecycle, self._world.learner.budget
        if self._learnt.configured is not rules or self._learnt.budget is not budget:
            bootstrap = replace(rules.bootstrap, budget=budget)
            self._learnt = _Learnt(rules, budget, replace(rules, bootstrap=bootstrap))
        return self._learnt.rules

    def _chain_is_down(self, ids: Sequence[JobId], fault: Fault) -> None:
        progress, now = self._state.progress, self._state.now()
        progress.chain_error = str(fault)
        if progress.unread_since is None:
            progress.unread_since = now
            log.info("chain.unread", error=str(fault))  # a backend that lags: gone in a moment
        elif not progress.unread_told and passed(now, progress.unread_since, UNREAD_SECONDS):
            progress.unread_told = True
            log.error("chain.unreadable", error=str(fault), seconds=UNREAD_SECONDS)
        for job in ids:
            self._agenda.put_off(job, self._state.now() + CHAIN_SECONDS)

    def _chain_is_up(self) -> None:
        progress = self._state.progress
        if progress.unread_told:
            log.warning("chain.readable", unread_since=progress.unread_since)
        progress.chain_error, progress.unread_since, progress.unread_told = "", None, False

    def _answers(self, now: float) -> Answers:
        """How the enclaves asked lately answered: the doubt's evidence."""
        since = now - self._state.rules.lifecycle.health.doubt_window_seconds
        return self._world.fleet.evidence.since(since)

    def _act(self, decided: list[tuple[JobView, Plan]]) -> list[tuple[JobView, Plan]]:
        """Remember and tell what was decided, then start its effects, closest deadline first; but
        for the ends that the chain asks for."""
        for view, decision in decided:
            note(self._state, view, decision)
            self._put_off(view.id, decision)
        self._loader.asking.ask(view.id for view, decision in decided if decision.asks)
        self._buying.begin()
        for view, decision in sorted(decided, key=_urgency):
            for action in decision.actions:
                if isinstance(action, Launch) and not self._may_buy(view, action):
                    continue
                if not isinstance(action, Terminate | RequestExit) or not action.by_chain:
                    self._in_flight.start(action)
        return decided

    def _may_buy(self, view: JobView, launch: Launch) -> bool:
        return self._buying.admits(view, launch, self._state.rules.burst)

    def _end(self, decided: Sequence[tuple[JobView, Plan]]) -> None:
        """The ends that the chain asks for, as far as the breaker lets them."""
        for action in self._ask_breaker(decided):
            if action.by_chain:
                self._in_flight.start(action)

    def _put_off(self, job: JobId, decision: Plan) -> None:
        least = self._state.now() + self._state.rules.service.least_look_seconds
        later = decision.next_look_at
        if later is not None and decision.stage == CALM:
            later = math.ceil(later)
        self._agenda.put_off(job, None if later is None else max(later, least))

    def _ask_breaker(
        self, decided: Sequence[tuple[JobView, Plan]]
    ) -> Sequence[termination_breaker.End]:
        kinds = Terminate | RequestExit
        wanted = [a for _, p in decided for a in p.actions if isinstance(a, kinds)]
        looked = frozenset(view.id for view, _ in decided)
        served = self._world.fleet.live_jobs() if wanted else 0
        asked = termination_breaker.Asked(looked, wanted, served)
        state, rules = self._state.breaker, self._state.rules.breaker
        ruling = termination_breaker.judge(asked, state, self._state.now(), rules)
        self._state.breaker = ruling.state
        self._forget_held(looked - {action.job for action in wanted})
        for action in ruling.held:
            if action.job not in state.held:
                self._world.memory.known(action.job).held_at = self._state.now()
                self._world.say(action.job, HELD, _why_held(action), 40)
        return ruling.allowed

    def _forget_held(self, calm: Iterable[JobId]) -> None:
        """Of jobs that nobody wants to end any more: no confirmation is about them."""
        for known in map(self._world.memory.known, calm):
            if known.end_asked_at is None and known.held_at is not None:
                known.held_at, known.end_confirmed = None, False
                self._world.say(known.id, END_TAKEN_BACK, level=30)


def _why_held(action: termination_breaker.End) -> str:
    if isinstance(action, Terminate):
        alone = "; one RPC endpoint alone says so, the other is silent" if action.alone else ""
        return f"{action.reason}{alone}"
    return "many jobs are to be left at once, by what one RPC endpoint alone tells"


def _urgency(pair: tuple[JobView, Plan]) -> tuple[float, bool, int]:
    """The closest slash point first; questions to those that are well last."""
    deadline = pair[1].deadline
    return (deadline if deadline is not None else math.inf, pair[1].stage == CALM, pair[0].id)
