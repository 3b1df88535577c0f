"""After a start: what the journal knows is remembered, so that less has to be found out again.

With an empty journal nothing is restored, and the decisions are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from agent.apply.context import World
from agent.decide.belief import Past
from agent.decide.job_view import LaunchPhase, LaunchView
from agent.decide.plan import SERVED_AT_A_LOSS
from agent.decide.termination_breaker import BreakerState
from agent.journal.lines import (
    ASSIGNED,
    ATTESTED,
    END_ASKED,
    END_TAKEN_BACK,
    HELD,
    WASTED,
    Event,
    LaunchRecord,
)
from agent.journal.reading import Reader
from agent.load.pins import pins_of
from agent.loop.state import LoopState
from agent.market.model import JobId
from agent.market.terms import Abilities
from cloud.model import InstanceId
from enclave.web.image_url import told as shown_url
from faults import RetryLater

log = structlog.get_logger()

AGAIN_SECONDS = 2.0  # between two attempts to read the journal
RECENT_JOBS = 20_000  # launches of jobs older than so many others do not matter any more


async def remember(state: LoopState, stopping: asyncio.Event, lives: Callable[[], None]) -> None:
    """What the journal knows; again and again while it can't be read, whoever leads by then."""
    reader, window = state.reader, state.rules.breaker.window_seconds
    while not stopping.is_set():
        try:
            restore(state.world, reader, state.sources.market.abilities)
            state.breaker = breaker_window(reader, state.now(), window)
            state.offering.restore(reader)
            state.world.memory.cards.restore(reader)
            if state.pricing is not None:
                state.pricing.restore(reader)
            return
        except RetryLater as later:
            log.warning("restore.later", error=str(later))
        lives()
        await state.world.clock.sleep(AGAIN_SECONDS)


def restore(world: World, reader: Reader, abilities: Abilities) -> None:
    """Put what the journal knows into memory: which jobs were served, which attempts were made,
    whether one was asked for whose end nobody heard, which ends the chain asks for. Jobs that
    ended are left alone."""
    ended = reader.ended()
    world.fleet.ended_jobs.update(ended)
    _assignments(world, reader, ended)
    if not abilities.reports_start:  # else the chain says what came up
        _proofs(world, reader, ended)
    _asked_ends(world, reader, ended)
    _losses(world, reader, ended)
    world.memory.pins.update(pins_of(reader))
    for event in sorted(reader.last(WASTED).values(), key=lambda event: event.at):
        world.memory.owners.wasted(event.text, event.at)
    for job, records in reader.launches(reader.jobs(RECENT_JOBS)).items():
        for record in records:
            if record.at > ended.get(job, 0.0):
                _remember(world, job, record)


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


def _assignments(world: World, reader: Reader, ended: Mapping[JobId, float]) -> None:
    for job, event in reader.last(ASSIGNED).items():
        if event.at > ended.get(job, 0.0):
            known = world.memory.job(job)
            known.served, known.told = True, event.generation or 0
            known.past = _past(event)


def _past(event: Event) -> Past | None:
    """None: an older version wrote the line."""
    told = event.fields
    try:
        return Past(
            event.generation or 0, int(told["assigned_at"]), str(told["instance_type"]),
            shown_url(str(told["url"])),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _proofs(world: World, reader: Reader, ended: Mapping[JobId, float]) -> None:
    for job, event in reader.last(ATTESTED).items():
        if event.at > ended.get(job, 0.0):
            world.memory.job(job).proven = event.generation


def _losses(world: World, reader: Reader, ended: Mapping[JobId, float]) -> None:
    for job, event in reader.last(SERVED_AT_A_LOSS).items():
        if event.at > ended.get(job, 0.0):
            world.memory.job(job).reluctant = event.generation


def _asked_ends(world: World, reader: Reader, ended: Mapping[JobId, float]) -> None:
    for job, event in reader.last(END_ASKED, END_TAKEN_BACK, HELD).items():
        if event.name != END_TAKEN_BACK and event.at > ended.get(job, 0.0):
            known = world.memory.job(job)
            known.end_asked_at = event.at
            known.held_at = event.at if event.name == HELD else None


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
