"""What a decision leaves behind: the memory of its job, and the lines of its timeline.

Each line is told once, when it became so. No effect is started here.
"""

from __future__ import annotations

import logging
from typing import Any

from agent.decide.belief import Past
from agent.decide.job_view import JobView
from agent.decide.plan import Plan
from agent.journal.lines import ASSIGNED, CONFIRMED, END_ASKED, END_TAKEN_BACK, TAKEN
from agent.load.agreements import ask_counts, came_to_nothing, fields_of, rate_counts
from agent.load.remembered import JobMemory
from agent.loop.state import LoopState
from enclave.web.image_url import told as shown_url


def note(state: LoopState, view: JobView, decision: Plan) -> None:
    """Remember the job as it was looked at, and tell what is new of it."""
    world, now = state.world, state.now()
    known = world.memory.job(view.id)
    if known.stage != decision.stage:
        known.stage_since = now
    known.view, known.stage, known.deadline = view, decision.stage, decision.deadline
    known.read_at = now
    known.served |= (view.ours and not _passed_by(state, view)) or bool(view.hosts)
    known.buying = decision.buys
    _tell_assignment(state, known, view)
    _tell_confirmed(state, known)
    _note_end(state, known, view, decision)
    _note_generation(state, known, view, decision)
    _note_agreement(state, view, decision)
    for line in known.news(decision.notes):
        world.say(view.id, line.name, line.text, int(line.level))


def _note_generation(state: LoopState, known: JobMemory, view: JobView, decision: Plan) -> None:
    """Of which assignment all this is, and whose."""
    if view.head is None:
        return
    if view.ours:
        state.world.memory.owners.serves(view.head.user, view.id)
    if decision.reluctant:
        known.reluctant = view.head.generation
    if known.buying is not None:
        known.vetted = view.head.generation


def _note_agreement(state: LoopState, view: JobView, decision: Plan) -> None:
    """At what rate the job was taken, and for what: both may be changed by its user."""
    asks, buys = state.world.memory.asks, decision.buys is not None
    if came_to_nothing(decision):
        asks.pop(view.id, None)
        state.sources.market.forget(view.id)
        return
    job, news = rate_counts(view, state.now(), buys=buys), None
    if job is not None:
        news = state.sources.market.took(job, bought=buys)
    ask = ask_counts(view, decision) or asks.get(view.id)
    if view.head is None or ask is None or (news is None and ask == asks.get(view.id)):
        return
    asks[view.id] = ask
    state.world.say(view.id, TAKEN, **fields_of(news, ask))


def _tell_assignment(state: LoopState, known: JobMemory, view: JobView) -> None:
    job = view.head
    if job is None or not view.ours or _passed_by(state, view):
        return
    if view.instance_type is not None:
        state.offering.seen.add(job.instance_type)
    if known.told >= job.generation:
        return
    known.told = job.generation
    state.world.memory.ended.pop(view.id, None)  # it comes to another end, told again
    state.world.say(
        view.id,
        ASSIGNED,
        instance_type=job.instance_type,
        url=shown_url(job.enclave_url),
        assigned_at=job.assigned_at,
        deadline=view.deadline,
    )


def _tell_confirmed(state: LoopState, known: JobMemory) -> None:
    """Once: after a restart a job that one endpoint denies by then is known to be no invention of
    the other, and takes no place of those that are bought on one's word; and what it is, is known
    by more than the word on which it was taken. The line is of the head's generation: what two told
    of another one waits for it."""
    if known.confirmed is None or known.head is None:
        return
    past = known.alike
    alike = past if past is not None and past.generation == known.confirmed else None
    same = known.head.generation == known.confirmed
    if same and known.confirmed_told != (known.confirmed, alike):
        known.confirmed_told = (known.confirmed, alike)
        state.world.say(known.id, CONFIRMED, level=logging.DEBUG, **_fields_of(alike))


def _fields_of(past: Past | None) -> dict[str, Any]:
    """What the journal's line has of what two told alike; empty: they differ in what it is."""
    if past is None:
        return {}
    return {
        "instance_type": past.instance_type,
        "url": past.enclave_url,
        "assigned_at": past.assigned_at,
    }


def _passed_by(state: LoopState, view: JobView) -> bool:
    """Whether a job stays on the chain though it is over, settled, and nothing here is of it:
    events speak of such a job now and then, and there is nothing to tell."""
    job, now = view.head, int(state.now())
    if job is None or view.hosts or not view.terms.is_over(job, now):
        return False
    signs = state.rules.lifecycle.ending.signs
    return not signs or not view.terms.unrecorded(job, now)


def _note_end(state: LoopState, known: JobMemory, view: JobView, decision: Plan) -> None:
    """Since when the chain asks for the end: a confirmation counts only from then on.

    What a clock that was ahead wrote down is not later than now: nobody could confirm it.
    """
    asked, now = decision.asks_for_end, state.now()
    known.end_asked_at = None if known.end_asked_at is None else min(known.end_asked_at, now)
    known.held_at = None if known.held_at is None else min(known.held_at, now)
    if asked and known.end_asked_at is None:
        known.end_asked_at, known.end_confirmed = now, False
        state.world.say(view.id, END_ASKED)
    elif known.end_asked_at is not None and not asked and any(h.live for h in view.hosts):
        known.end_asked_at, known.held_at, known.end_confirmed = None, None, False
        state.world.say(view.id, END_TAKEN_BACK, level=30)
