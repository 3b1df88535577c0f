"""Reads of the journal, from any process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import sqlalchemy as sa

from agent.decide.job_view import LaunchPhase
from agent.journal.engines import asking
from agent.journal.lines import ASSIGNED, ENDED, Event, LaunchRecord
from agent.journal.schema import launches, timeline
from agent.market.model import JobId

_CHUNK = 500  # ids in one query: below SQLite's limit of variables
_TOLD = [timeline.c[name] for name in ("id", *Event.__dataclass_fields__)]
_LAUNCHED = [launches.c[name] for name in ("id", *LaunchRecord.__dataclass_fields__)]


Put: TypeAlias = Callable[[], None]
Restore: TypeAlias = Callable[["Reader"], Put]
"""Reads what processes before this one told, wherever that may wait; what it returns puts it into
memory at once. Done again it leaves nothing twice."""


class Reader:
    """Timelines and launches, as they were committed. Raises RetryLater while the file is held."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def timeline(self, job: JobId | None, limit: int = 1000) -> list[Event]:
        """The newest `limit` lines of one job (None: the agent's own), oldest first."""
        query = (
            sa.select(*_TOLD)
            .where(timeline.c.job.is_(None) if job is None else timeline.c.job == job)
            .order_by(timeline.c.id.desc())
            .limit(limit)
        )
        with self._rows(query) as rows:
            return [_event(row) for row in rows][::-1]

    def jobs(self, limit: int = 1000) -> list[JobId]:
        """Every job there is a line about, newest first."""
        query = (
            sa.select(timeline.c.job, sa.func.max(timeline.c.id).label("last"))
            .where(timeline.c.job.is_not(None))
            .group_by(timeline.c.job)
            .order_by(sa.desc("last"))
            .limit(limit)
        )
        with self._rows(query) as rows:
            return [JobId(row["job"]) for row in rows]

    def ended(self) -> dict[JobId, float]:
        """When each job that ended did, the last time."""
        query = (
            sa.select(timeline.c.job, sa.func.max(timeline.c.at).label("at"))
            .where(timeline.c.name == ENDED, timeline.c.job.is_not(None))
            .group_by(timeline.c.job)
        )
        with self._rows(query) as rows:
            return {JobId(row["job"]): row["at"] for row in rows}

    def last(self, *names: str, jobs: Collection[JobId] | None = None) -> dict[JobId, Event]:
        """Of each job, or each of these few, the newest line that has one of these names."""
        of_jobs = timeline.c.job.is_not(None) if jobs is None else timeline.c.job.in_(jobs)
        newest = (
            sa.select(sa.func.max(timeline.c.id))
            .where(timeline.c.name.in_(names), of_jobs)
            .group_by(timeline.c.job)
        )
        with self._rows(sa.select(*_TOLD).where(timeline.c.id.in_(newest))) as rows:
            return {JobId(row["job"]): _event(row) for row in rows}

    def newest(self) -> int:
        """The highest number of a line; 0: there is none."""
        with self._rows(sa.select(sa.func.max(timeline.c.id).label("newest"))) as rows:
            return next((row["newest"] or 0 for row in rows), 0)

    def youngest(self, name: str, below: JobId | None, limit: int) -> list[JobId]:
        """The highest ids of jobs that have a line of this name, below `below` where it is given,
        the highest first."""
        of_jobs = timeline.c.job.is_not(None) if below is None else timeline.c.job < below
        query = (
            sa.select(timeline.c.job)
            .where(timeline.c.name == name, of_jobs)
            .group_by(timeline.c.job)
            .order_by(timeline.c.job.desc())
            .limit(limit)
        )
        with self._rows(query) as rows:
            return [JobId(row["job"]) for row in rows]

    def named(self, name: str, since: float | None = None) -> list[Event]:
        """Every line of jobs that has this name, of that time (unix seconds) or later, oldest
        first."""
        of_jobs = sa.and_(timeline.c.job.is_not(None), timeline.c.name == name)
        if since is not None:
            of_jobs = sa.and_(of_jobs, timeline.c.at >= since)
        with self._rows(sa.select(*_TOLD).where(of_jobs).order_by(timeline.c.id)) as rows:
            return [_event(row) for row in rows]

    def assigned(self) -> set[JobId]:
        """Every job that ever was this provider's to serve, as far as the journal goes."""
        return set(self.last(ASSIGNED))

    def newest_own(self, name: str) -> tuple[int, Event] | None:
        """The agent's own last line of this name, with its number; None: there is none."""
        named = sa.and_(timeline.c.job.is_(None), timeline.c.name == name)
        query = sa.select(*_TOLD).where(named).order_by(timeline.c.id.desc()).limit(1)
        with self._rows(query) as rows:
            return next(((row["id"], _event(row)) for row in rows), None)

    def own(self, *names: str) -> list[Event]:
        """The agent's own lines that have one of these names, oldest first."""
        named = sa.and_(timeline.c.job.is_(None), timeline.c.name.in_(names))
        with self._rows(sa.select(*_TOLD).where(named).order_by(timeline.c.id)) as rows:
            return [_event(row) for row in rows]

    def launches(self, jobs: Sequence[JobId]) -> dict[JobId, list[LaunchRecord]]:
        """What is known of the launches of these jobs, oldest first."""
        found: dict[JobId, list[LaunchRecord]] = {}
        for start in range(0, len(jobs), _CHUNK):
            chosen = launches.c.job.in_(jobs[start : start + _CHUNK])
            with self._rows(sa.select(*_LAUNCHED).where(chosen).order_by(launches.c.id)) as rows:
                for row in rows:
                    found.setdefault(JobId(row["job"]), []).append(_launch(row))
        return found

    def launches_outside(self, regions: Collection[str]) -> list[LaunchRecord]:
        """Launches in other regions than these, of jobs whose end was not told since."""
        ended, elsewhere = self.ended(), launches.c.region.not_in(regions)
        with self._rows(sa.select(*_LAUNCHED).where(elsewhere).order_by(launches.c.id)) as rows:
            found = [_launch(row) for row in rows]
        return [record for record in found if record.at > ended.get(record.job, 0.0)]

    def told_after(self, number: int, names: Sequence[str], limit: int) -> list[tuple[int, Event]]:
        """The first lines of jobs behind the line `number` that have one of these names, oldest
        first, each with its own number."""
        # By their numbers, of which few are new: SQLite would take the index of names, and read all
        # lines that ever had one of these.
        named = timeline.c.name.concat("").in_(names)
        query = (
            sa.select(*_TOLD)
            .where(timeline.c.id > number, timeline.c.job.is_not(None), named)
            .order_by(timeline.c.id)
            .limit(limit)
        )
        with self._rows(query) as rows:
            return [(row["id"], _event(row)) for row in rows]

    def launched_after(self, number: int, limit: int) -> list[tuple[int, LaunchRecord]]:
        """The first launches that led to an instance, behind the record `number`, oldest first."""
        query = (
            sa.select(*_LAUNCHED)
            .where(launches.c.id > number, launches.c.phase == LaunchPhase.LAUNCHED.value)
            .order_by(launches.c.id)
            .limit(limit)
        )
        with self._rows(query) as rows:
            return [(row["id"], _launch(row)) for row in rows]

    @contextmanager
    def _rows(self, query: sa.Select[Any]) -> Iterator[Iterable[Mapping[Any, Any]]]:
        """One after the other: the history of thousands of jobs is many rows."""
        with asking(self.engine) as connection:
            yield connection.execute(query).mappings()


def _event(row: Mapping[str, Any]) -> Event:
    return Event(**{name: row[name] for name in Event.__dataclass_fields__})


def _launch(row: Mapping[str, Any]) -> LaunchRecord:
    fields = {name: row[name] for name in LaunchRecord.__dataclass_fields__}
    return LaunchRecord(**{**fields, "phase": LaunchPhase(row["phase"])})
