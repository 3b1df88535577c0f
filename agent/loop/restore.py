"""After a start: what the journal knows is remembered, so that less has to be found out again.

With an empty journal nothing is restored, and the decisions are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from agent.apply.context import World
from agent.aside import Aside
from agent.decide.belief import Past
from agent.decide.fault_reports import EXPLAINED, UNEXPLAINED
from agent.decide.job_view import FaultReport, LaunchPhase, LaunchView
from agent.decide.plan import SERVED_AT_A_LOSS
from agent.decide.termination_breaker import BreakerState
from agent.journal.lines import (
    ASSIGNED,
    ATTESTED,
    CONFIRMED,
    END_ASKED,
    END_TAKEN_BACK,
    HELD,
    START_MINED,
    WASTED,
    Event,
    LaunchRecord,
)
from agent.journal.reading import Put, Reader, Restore
from agent.load.agreements import accepted_asks
from agent.load.fault_claims import REPORTED
from agent.load.pins import Pins, pins_of
from agent.loop.state import LoopState
from agent.market.model import JobId
from agent.market.terms import Abilities
from agent.market.workload import Ask
from cloud.model import InstanceId
from enclave.web.image_url import told as shown_url
from faults import RetryLater

log = structlog.get_logger()

AGAIN_SECONDS = 2.0  # between two attempts to read the journal
LIFE_SECONDS = 5.0  # between two signs of life while it is read: years of it take minutes
RECENT_JOBS = 20_000  # launches of jobs older than so many others do not matter any more


async def remember(
    state: LoopState,
    stopping: asyncio.Event,
    lives: Callable[[], None],
    *,
    stood_by: bool = False,
) -> None:
    """What the journal knows; again and again while it can't be read, whoever leads by then.

    `stood_by`: also what was read when this process started, since another host told more of it.
    """
    restores = [*_of_the_loop(state), *(state.told_elsewhere if stood_by else ())]
    while not stopping.is_set():
        reading = asyncio.create_task(restored(state.restoring, state.reader, restores))
        try:
            await _watched(reading, stopping, lives)
            return
        except RetryLater as later:
            log.warning("restore.later", error=str(later))
        lives()
        await state.world.clock.sleep(AGAIN_SECONDS)


async def _watched(
    reading: asyncio.Task[None], stopping: asyncio.Event, lives: Callable[[], None]
) -> None:
    """Its end, or the agent's: whoever is told to end, or lost the lease, waits for no history.
    Raises what it does."""
    stopped = asyncio.create_task(stopping.wait())
    try:
        while not (reading.done() or stopped.done()):
            some = {reading, stopped}
            done, _ = await asyncio.wait(
                some, timeout=LIFE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                lives()
        if reading.done():
            reading.result()
    finally:
        for task in (reading, stopped):
            task.cancel()
        await asyncio.gather(reading, stopped, return_exceptions=True)


async def restored(aside: Aside, reader: Reader, restores: Sequence[Restore]) -> None:
    """All of them read aside of the loop, then put into memory on it. Raises RetryLater."""
    for put in await aside(lambda: [read(reader) for read in restores]):
        put()


def _of_the_loop(state: LoopState) -> Iterator[Restore]:
    yield partial(past, state.world, state.sources.market.abilities)
    yield partial(_breaker, state)
    yield state.offering.restore
    yield state.world.memory.cards.restore
    if state.pricing is not None:
        yield state.pricing.restore


@dataclass(frozen=True, slots=True)
class _Told:
    """Lines and records that say something of jobs that have not ended."""

    ended: Mapping[JobId, float]
    assigned: Mapping[JobId, Event]
    proven: Mapping[JobId, Event]
    mined: Mapping[JobId, Event]  # reports of starts
    confirmed: Mapping[JobId, Event]
    asked: Mapping[JobId, Event]
    losses: Mapping[JobId, Event]
    reports: Sequence[Event]  # auditors' reports, and what was thought of them, in their order
    pins: Pins
    asks: Mapping[JobId, Ask]
    wasted: Sequence[Event]
    launches: Mapping[JobId, Sequence[LaunchRecord]]


def past(world: World, abilities: Abilities, reader: Reader) -> Put:
    """What the journal knows: which jobs were served, which attempts were made, whether one was
    asked for whose end nobody heard, which ends the chain asks for. Jobs that ended are left
    alone."""
    told = _Told(
        ended=reader.ended(),
        assigned=reader.last(ASSIGNED),
        # Where starts are reported the chain says what came up.
        proven={} if abilities.reports_start else reader.last(ATTESTED),
        mined=reader.last(START_MINED),
        confirmed=reader.last(CONFIRMED),
        asked=reader.last(END_ASKED, END_TAKEN_BACK, HELD),
        losses=reader.last(SERVED_AT_A_LOSS),
        reports=_reports(reader),
        pins=pins_of(reader),
        asks=accepted_asks(reader) if abilities.changes_in_place else {},
        wasted=sorted(reader.last(WASTED).values(), key=lambda event: event.at),
        launches=reader.launches(reader.jobs(RECENT_JOBS)),
    )
    return partial(_put, world, told)


def _put(world: World, told: _Told) -> None:
    world.fleet.ended_jobs.update(told.ended)
    _assignments(world, told)
    _served(world, told)
    for job, event in _of_now(told, told.asked):
        if event.name != END_TAKEN_BACK:
            known = world.memory.job(job)
            known.end_asked_at = event.at
            known.held_at = event.at if event.name == HELD else None
    for job, event in _of_now(told, told.losses):
        world.memory.job(job).reluctant = event.generation
    _reported(world, told)
    world.memory.pins.update(told.pins)
    world.memory.asks.update(told.asks)
    for event in told.wasted:
        world.memory.owners.wasted(event.text, event.at)
    for job, records in told.launches.items():
        for record in records:
            if record.at > told.ended.get(job, 0.0):
                _remember(world, job, record)


def _of_now(told: _Told, lines: Mapping[JobId, Event]) -> Iterator[tuple[JobId, Event]]:
    """But for jobs that ended since."""
    return ((job, event) for job, event in lines.items() if event.at > told.ended.get(job, 0.0))


def _breaker(state: LoopState, reader: Reader) -> Put:
    found = breaker_window(reader, state.now(), state.rules.breaker.window_seconds)

    def put() -> None:
        state.breaker = found

    return put


def breaker_window(reader: Reader, now: float, window_seconds: float) -> BreakerState:
    """Of which jobs the end was asked for lately, by this process or the one before: a restart, or
    another host that takes over, must not let a mass of ends pass as several small ones.

    What was held is asked for again at the first look, and counts from then on. A job that nothing
    was launched for has nothing to end.
    """
    asked = dict[JobId, float]()
    for event in reader.named(END_ASKED, now - window_seconds):
        if event.job is not None:
            asked.setdefault(event.job, min(event.at, now))
    launched = reader.launches(list(asked))
    return BreakerState({job: at for job, at in asked.items() if job in launched})


def _assignments(world: World, told: _Told) -> None:
    for job, event in _of_now(told, told.assigned):
        known = world.memory.job(job)
        known.served, known.told = True, event.generation or 0
        known.past = _past(event)


def _served(world: World, told: _Told) -> None:
    """What no lie can take back: enclaves that proved themselves, reports that were mined, and
    what two endpoints told alike."""
    for job, event in _of_now(told, told.proven):
        world.memory.job(job).proven = event.generation
    for job, event in _of_now(told, told.mined):
        world.memory.job(job).start_mined = event.generation
    for job, event in _of_now(told, told.confirmed):
        known = world.memory.job(job)
        known.confirmed, alike = event.generation, _past(event)
        known.past = alike or known.past
        known.confirmed_told = (event.generation or 0, alike)


def _reports(reader: Reader) -> Sequence[Event]:
    lines = [event for name in (REPORTED, EXPLAINED, UNEXPLAINED) for event in reader.named(name)]
    return sorted(lines, key=lambda event: event.at)


def _reported(world: World, told: _Told) -> None:
    for event in told.reports:
        if event.job is not None and event.at > told.ended.get(event.job, 0.0):
            _report(world, event.job, event)


def _report(world: World, job: JobId, event: Event) -> None:
    """A report never expires: who restarts, or takes over, knows of those before."""
    known, generation = world.memory.job(job), event.generation or 0
    if event.name == REPORTED:
        new = FaultReport(generation, str(event.fields.get("auditor", "")), event.at)
        if not any(new.same(one) for one in known.reports):
            known.reports = (*known.reports, new)
        return
    known.reports = tuple(
        replace(one, explained=event.name == EXPLAINED)
        if (one.generation, one.auditor) == (generation, event.text)
        else one
        for one in known.reports
    )


def _past(event: Event) -> Past | None:
    """None: an older version wrote the line, or two told of the job and not alike what it is."""
    told = event.fields
    alike_at = event.at if event.name == CONFIRMED else None
    try:
        return Past(
            event.generation or 0, int(told["assigned_at"]), str(told["instance_type"]),
            shown_url(str(told["url"])), alike_at,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _remember(world: World, job: JobId, record: LaunchRecord) -> None:
    instance = InstanceId(record.instance) if record.instance else None
    phase = LaunchPhase.LATER if record.phase is LaunchPhase.REFUSED else record.phase
    view = LaunchView(
        record.generation, record.attempt, phase, record.at, record.reason, 0.0, instance
    )
    known = world.memory.job(job)
    known.served = True
    known.told = max(known.told, record.generation)
    known.remember_launch(view)
