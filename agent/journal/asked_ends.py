"""Which ends a person has confirmed, by the order of lines and orders alone.

A confirmation counts for what whoever gave it could have seen. The line was written by the clock of
the host that led then, the order by the one of the host where the command ran: neither is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from agent.journal.engines import asking
from agent.journal.lines import END_ASKED, END_TAKEN_BACK, ENDED, HELD
from agent.journal.orders import Line, OrderRecord
from agent.journal.schema import timeline
from agent.market.model import JobId


@dataclass(frozen=True, slots=True)
class AskedEnd:
    """Of the end that is asked for now: its first line, and the first that says that it is held."""

    asked: Line | None = None
    held: Line | None = None


def asked_ends(engine: sa.Engine) -> dict[JobId, AskedEnd]:
    """By job; of jobs that have not ended since. Raises RetryLater."""
    told = timeline.alias()
    ended = sa.select(sa.func.max(told.c.id)).where(
        told.c.name == ENDED, told.c.job == timeline.c.job
    )
    query = (
        sa.select(timeline.c.id, timeline.c.at, timeline.c.job, timeline.c.name)
        .where(
            timeline.c.name.in_((END_ASKED, END_TAKEN_BACK, HELD)),
            timeline.c.job.is_not(None),
            timeline.c.id > sa.func.coalesce(ended.scalar_subquery(), 0),
        )
        .order_by(timeline.c.id)
    )
    found: dict[JobId, AskedEnd] = {}
    with asking(engine) as connection:
        for number, at, job, name in connection.execute(query):
            before = found.get(JobId(job), AskedEnd())
            found[JobId(job)] = _after(before, name, Line(number, at))
    return found


def _after(before: AskedEnd, name: str, line: Line) -> AskedEnd:
    if name == END_TAKEN_BACK:
        return AskedEnd()
    if name == END_ASKED:
        return replace(before, asked=before.asked or line)
    return replace(before, held=before.held or line)


def confirmed(order: OrderRecord, ends: Mapping[JobId, AskedEnd]) -> set[JobId]:
    """The jobs whose end an order confirms: the one it names, or all that were held by then."""
    if order.job is None:
        return {job for job, end in ends.items() if end.held and order.follows(end.held)}
    end = ends.get(order.job, AskedEnd())
    lines = (end.asked, end.held)  # whichever was to be seen first
    return {order.job} if any(line and order.follows(line) for line in lines) else set()
