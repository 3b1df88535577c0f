"""What jobs paid and asked for when they were taken, as the journal has it, and when that is.

Where a user may change the rate, the chain keeps the present one alone. A job that pays less than
it was taken for, and less than is asked, is served no more: also when it was lowered while no
agent ran, whose notice nobody saw. So it is with what it runs and on what. A job of which two
endpoints tell in the end that there is none never was one: the next one of that id is another's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from agent.decide.changed_jobs import accepted, ask_of
from agent.decide.job_view import JobView
from agent.decide.lifecycle import NO_SUCH_JOB
from agent.decide.plan import Finish, Launch, Plan, WriteDesired
from agent.journal.lines import ENDED, TAKEN, Event
from agent.journal.reading import Reader
from agent.market.model import Job, JobId, Price
from agent.market.workload import Ask


def agreed_rates(reader: Reader) -> dict[JobId, Price]:
    """By job; those that an older version took are not there."""
    found: dict[JobId, Price] = {}
    for event in _still_standing(reader):
        price = _price(event)
        if price is not None and event.job is not None:
            found.setdefault(event.job, price)
    return found


def _still_standing(reader: Reader) -> Iterator[Event]:
    """The lines of jobs that were taken, but those of ids that came to nothing since."""
    ends = (event for event in reader.named(ENDED) if event.text == NO_SUCH_JOB)
    gone = {event.job: event.at for event in ends}
    taken = reader.named(TAKEN)
    return (event for event in taken if event.at > gone.get(event.job, -math.inf))


def came_to_nothing(decided: Plan) -> bool:
    """Whether the job is let go since there is none: what was agreed to for its id is void."""
    done = (action for action in decided.actions if isinstance(action, Finish))
    return any(action.outcome == NO_SUCH_JOB for action in done)


def _price(event: Event) -> Price | None:
    text = str(event.fields.get("price", ""))
    return Price(int(text)) if text.isascii() and text.isdigit() else None


def accepted_asks(reader: Reader) -> dict[JobId, Ask]:
    """What jobs asked for when something was last bought or ordered for them."""
    found: dict[JobId, Ask] = {}
    for event in _still_standing(reader):
        ask = _ask(event)
        if ask is not None and event.job is not None:
            found[event.job] = ask
    return found


def _ask(event: Event) -> Ask | None:
    """None: an older version wrote the line."""
    told = {name: event.fields.get(name) for name in ("user", "instance_type", "place", "content")}
    return Ask(*map(str, told.values())) if None not in told.values() else None


def fields_of(price: Price | None, ask: Ask) -> dict[str, Any]:
    """What the journal's line says. A line about the ask alone has no price: the present one was
    agreed to by nobody, and the first that stands in the journal counts."""
    return {**({} if price is None else {"price": str(price.raw)}), **asdict(ask)}


def ask_counts(view: JobView, decided: Plan) -> Ask | None:
    """What the job is accepted for by this decision: what it asks for now where that is bought or
    ordered; of one that was found up, what its host runs. None: nothing new."""
    if view.head is None or not view.terms.abilities.changes_in_place:
        return None
    if any(isinstance(action, Launch | WriteDesired) for action in decided.actions):
        return ask_of(view.head)
    if view.facts.accepted is None and view.ours and view.up:
        return accepted(view) or ask_of(view.head)
    return None


def rate_counts(view: JobView, now: float, *, buys: bool) -> Job | None:
    """The job, where its present rate is what it is served for: an instance is bought for it now,
    or it is up. Of one that was found up the journal may be lost, and no other rate is known: else
    it would be served at any lower one that comes to hold later."""
    job = view.head
    if job is None or not (buys or (view.ours and view.up)):
        return None
    return None if view.terms.is_over(job, int(now)) else job
