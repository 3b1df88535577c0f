"""The effects that are being carried out: each is a task of its own, and is in flight only once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import structlog

from agent.agenda import Agenda
from agent.apply.actions import EFFECTS, carry_out, task_key
from agent.apply.context import World
from agent.decide.job_view import CALM
from agent.decide.plan import Action, Attest, Finish, Launch
from agent.journal.lines import Event
from agent.market.model import JobId
from faults import MustStop

log = structlog.get_logger()


class InFlight:
    """Starts effects; when one ends, its job is looked at again (a finished one never again).

    `stop` is called with the MustStop of an effect: going on would do harm.
    """

    def __init__(self, world: World, agenda: Agenda, stop: Callable[[MustStop], None]) -> None:
        self._world = world
        self._agenda = agenda
        self._stop = stop
        self._tasks: dict[tuple[object, ...], asyncio.Task[None]] = {}
        self._launches: set[JobId] = set()  # a job's launch is in flight only once

    def tasks(self) -> Sequence[asyncio.Task[None]]:
        return tuple(self._tasks.values())

    def launching(self) -> frozenset[JobId]:
        """The jobs for which an instance is being bought."""
        return frozenset(self._launches)

    def start(self, action: Action) -> None:
        """Carry the action out as a task, unless an equal one is already in flight."""
        key = task_key(action)
        if key in self._tasks:
            return
        task = asyncio.create_task(carry_out(self._world, action), name=EFFECTS[type(action)].name)
        self._tasks[key] = task
        if isinstance(action, Launch):
            self._launches.add(action.job)
        task.add_done_callback(lambda done: self._ended(key, action, done))

    def _ended(self, key: tuple[object, ...], action: Action, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if isinstance(action, Launch):
            self._launches.discard(action.job)
        if task.cancelled():
            return
        broken = task.exception()
        if isinstance(broken, MustStop):
            self._stop(broken)
        elif broken is not None:
            self._bug(key, action, broken)
        else:
            self._well(key, action)

    def _well(self, key: tuple[object, ...], action: Action) -> None:
        self._world.bugs.well(key)
        if isinstance(action, Finish):
            self._world.bugs.forget(action.job)
            self._agenda.drop(action.job)
        elif isinstance(action, Attest) and self._is_calm(action.job):
            # Nobody waits for it: thousands of answers are looked at a second's worth at a time.
            self._agenda.put_off(action.job, math.floor(self._world.clock.now()) + 1.0)
        else:
            self._agenda.wake([action.job])

    def _is_calm(self, job: JobId) -> bool:
        known = self._world.memory.jobs.get(job)
        return known is not None and known.stage == CALM

    def _bug(self, key: tuple[object, ...], action: Action, broken: BaseException) -> None:
        """Nobody foresaw it: say it with its trace, let the job wait and have it tried again, keep
        the others going."""
        now, entry = self._world.clock.now(), EFFECTS[type(action)]
        bug = self._world.bugs.note(key, action.job, entry.name, broken, now)
        log.error("effect.bug", job=action.job, effect=entry.name, exc_info=broken)
        fields = {"effect": entry.name}
        event = Event(now, "effect.bug", action.job, level=40, text=str(bug), fields=fields)
        self._world.journal.event(event)
        entry.broke(self._world, action, bug)
        self._agenda.put_off(action.job, bug.retry_at)
