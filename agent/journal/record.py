"""What happened when: timelines of jobs, launches, orders of the operator. Append-only.

The journal is for people, and saves the agent repetition. No decision needs it but what only a
person can order (exits, confirmed terminations): chain and tags say the rest, so losing the file
loses history. SQLite in WAL mode: the CLI reads, and writes orders, while the agent runs.

Records are buffered, and committed together: once a turn of the event loop for all who wait on
`durable`. A disk that is full makes the journal `degraded`, never the agent dead. A row that can't
be stored is a bug: it alone is dropped, with an error, and those who wait are told (`Unstorable`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError

from agent.decide.job_view import LaunchPhase
from agent.market.model import JobId
from faults import MustStop

log = structlog.get_logger()

# Lines that a later process reads back (`agent.loop.restore`, `agent.apply.listings`).
ASSIGNED = "job.assigned"
ENDED = "job.ended"  # the last line of a timeline: nothing of the job is left in AWS
END_ASKED = "end.asked"  # the chain asks for the end of the job's instances
END_TAKEN_BACK = "end.taken_back"  # and asks for it no more, while they live
SLASHED = "job.slashed"  # the contract took StakePerJob; once a job at most
HELD = "breaker.held"
OFFER_LISTED = "offer.listed"
OFFER_WITHDRAWN = "offer.withdrawn"
SCHEMA = "0001"  # the newest of migrations/versions
MAX_WAITING = 100_000  # records kept while the disk refuses them; the oldest go first
BUSY_MILLISECONDS = 5_000  # how long a writer waits for another process's commit
_CHUNK = 500  # ids in one query: below SQLite's limit of variables

metadata = sa.MetaData()
timeline = sa.Table(
    "timeline",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("job", sa.Integer),
    sa.Column("generation", sa.Integer),
    sa.Column("name", sa.Text),
    sa.Column("level", sa.Integer),
    sa.Column("text", sa.Text),
    sa.Column("fields", sa.JSON),
)
launches = sa.Table(
    "launches",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("job", sa.Integer),
    sa.Column("generation", sa.Integer),
    sa.Column("attempt", sa.Integer),
    sa.Column("region", sa.Text),
    sa.Column("instance_type", sa.Text),
    sa.Column("phase", sa.Text),
    sa.Column("instance", sa.Text),
    sa.Column("reason", sa.Text),
)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("kind", sa.Text),
    sa.Column("job", sa.Integer),
    sa.Column("by", sa.Text),
)

_INSERTS = {table: sa.insert(table) for table in (timeline, launches)}

# What sqlite3 raises of the disk or the file (a damaged one: DatabaseError itself); the classes
# beside these (DataError, ProgrammingError, …), and all that is not sqlite3's, are of the row.
_OF_THE_DISK = (OperationalError, InternalError, DatabaseError)


class Unstorable(Exception):  # no Fault: no caller foresees it
    """Rows that were waited for were dropped: what they announce must not be done."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline; `job` None is the agent's own."""

    at: float
    name: str
    job: JobId | None = None
    generation: int | None = None
    level: int = 20
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One thing known of one launch: the intent, later what came of it."""

    at: float
    job: JobId
    generation: int
    attempt: int
    region: str
    instance_type: str
    phase: LaunchPhase
    instance: str | None = None
    reason: str = ""


class OrderKind:
    """What a person can order; the agent carries it through, whatever happens to it meanwhile."""

    EXIT = "exit"
    EXIT_ALL = "exit-all"
    CANCEL_EXIT_ALL = "cancel-exit-all"
    CONFIRM_TERMINATIONS = "confirm-terminations"


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order of the operator; `job` None concerns all."""

    id: int
    at: float
    kind: str
    job: JobId | None
    by: str


def open_engine(path: Path) -> sa.Engine:
    """An engine on the journal's file, its schema current. Raises MustStop when it can't be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}")
    sa.event.listen(engine, "connect", _prepare)
    try:
        migrate(engine)
    except DatabaseError as broken:
        engine.dispose()
        raise MustStop(f"the journal {path} can't be opened: {broken.orig}; move it away") from None
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest version, in one transaction.

    Alembic is loaded only when there is something to do: it costs a start 0.3 s of CPU.
    """
    if _version(engine) == SCHEMA:
        return
    from alembic import command
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(engine: sa.Engine) -> str | None:
    """What alembic noted in the file; None when it has never been there."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def _prepare(connection: Any, _record: object) -> None:
    """WAL, so that readers and the agent do not wait for each other. NORMAL syncs at checkpoints:
    what a power cut takes back, chain and tags still know. What they don't know is `synced`."""
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def synced(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is on the disk at its end, whatever happens to the machine then."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        try:
            yield connection
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")


class Journal:
    """The agent's writer; `Reader` below is for everybody else."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.degraded = ""  # why nothing can be written; empty: all is well
        self._waiting: list[tuple[sa.Table, dict[str, Any]]] = []
        self._turn: asyncio.Future[None] | None = None
        self.told: Callable[[Event], None] = lambda event: None  # each line, for metrics

    def event(self, event: Event) -> None:
        """Note a line of a timeline; committed with the next flush."""
        self._add(timeline, {**_plain(event), "fields": dict(event.fields)})
        self.told(event)

    def launch(self, record: LaunchRecord) -> None:
        """Note what is known of a launch; await `durable` at once, before the call it announces."""
        self._add(launches, {**_plain(record), "phase": record.phase.value})

    def _add(self, table: sa.Table, row: dict[str, Any]) -> None:
        _make_storable(row)
        if "fields" in row:
            _make_storable(row["fields"])
        self._waiting.append((table, row))
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[: MAX_WAITING // 10]

    async def durable(self) -> None:
        """Returns when what was noted is committed (or the journal is degraded).

        Everyone who asks in one turn of the loop shares one commit. Raises Unstorable to all of
        them when a row was dropped: whose it was is not known.
        """
        if self._turn is None and not self._waiting:
            return
        if self._turn is None:
            loop = asyncio.get_running_loop()
            self._turn = loop.create_future()
            loop.call_soon(self._end_turn)
        await asyncio.shield(self._turn)

    def _end_turn(self) -> None:
        try:
            self.flush()
        except BaseException as broken:
            self._tell(broken)  # or they would wait for ever
            raise
        else:
            self._tell(None)

    def _tell(self, broken: BaseException | None) -> None:
        """End the wait of all who wait just now."""
        turn, self._turn = self._turn, None
        if turn is None or turn.done():
            return
        if broken is None:
            turn.set_result(None)
        else:
            turn.set_exception(broken)

    def flush(self) -> bool:
        """Commit what was noted. False when not all of it was: the disk refuses, and `degraded`
        says why, or a row was dropped, and those who wait are told."""
        if not self._waiting:
            return True
        try:
            dropped = self._commit()
        except DatabaseError as broken:
            if not self.degraded:
                log.error("journal.degraded", error=str(broken.orig))
            self.degraded = str(broken.orig)
            return False
        self._waiting.clear()
        self.degraded = ""
        if dropped:
            # Whoever flushes: it may be somebody else than those whose turn is still to end.
            self._tell(Unstorable(f"the journal dropped {dropped} rows that can't be stored"))
        return not dropped

    def _commit(self) -> int:
        """All that waits in one transaction; how many rows were dropped, mostly none."""
        try:
            with self.engine.begin() as connection:
                for table, rows in _grouped(self._waiting):
                    connection.execute(_INSERTS[table], rows)
        except Exception as broken:
            if type(broken) in _OF_THE_DISK:
                raise
            return self._commit_singly()
        return 0

    def _commit_singly(self) -> int:
        """A statement that fails takes only itself back, so the good rows are kept."""
        bad = list[tuple[sa.Table, dict[str, Any], Exception]]()
        with self.engine.begin() as connection:
            for table, row in self._waiting:
                try:
                    connection.execute(_INSERTS[table], [row])
                except Exception as broken:
                    if type(broken) in _OF_THE_DISK:
                        raise
                    bad.append((table, row, broken))
        for table, row, why in bad:
            said = f"{row!r:.1000}"
            log.error("journal.row_dropped", table=table.name, row=said, exc_info=why)
        return len(bad)

    def close(self) -> None:
        self.flush()
        self.engine.dispose()


class Reader:
    """Reads of the journal, and the operator's orders; from any process."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def timeline(self, job: JobId | None, limit: int = 1000) -> list[Event]:
        """The newest `limit` lines of one job (None: the agent's own), oldest first."""
        query = (
            sa.select(timeline)
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

    def last(self, *names: str) -> dict[JobId, Event]:
        """Of each job, the newest line that has one of these names."""
        newest = (
            sa.select(sa.func.max(timeline.c.id))
            .where(timeline.c.name.in_(names), timeline.c.job.is_not(None))
            .group_by(timeline.c.job)
        )
        with self._rows(sa.select(timeline).where(timeline.c.id.in_(newest))) as rows:
            return {JobId(row["job"]): _event(row) for row in rows}

    def own(self, *names: str) -> list[Event]:
        """The agent's own lines that have one of these names, oldest first."""
        named = sa.and_(timeline.c.job.is_(None), timeline.c.name.in_(names))
        with self._rows(sa.select(timeline).where(named).order_by(timeline.c.id)) as rows:
            return [_event(row) for row in rows]

    def launches(self, jobs: Sequence[JobId]) -> dict[JobId, list[LaunchRecord]]:
        """What is known of the launches of these jobs, oldest first."""
        found: dict[JobId, list[LaunchRecord]] = {}
        for start in range(0, len(jobs), _CHUNK):
            chosen = launches.c.job.in_(jobs[start : start + _CHUNK])
            with self._rows(sa.select(launches).where(chosen).order_by(launches.c.id)) as rows:
                for row in rows:
                    found.setdefault(JobId(row["job"]), []).append(_launch(row))
        return found

    def launches_outside(self, regions: Collection[str]) -> list[LaunchRecord]:
        """Launches in other regions than these, of jobs whose end was not told since."""
        ended, elsewhere = self.ended(), launches.c.region.not_in(regions)
        with self._rows(sa.select(launches).where(elsewhere).order_by(launches.c.id)) as rows:
            found = [_launch(row) for row in rows]
        return [record for record in found if record.at > ended.get(record.job, 0.0)]

    def orders(self, after: int = 0) -> list[OrderRecord]:
        """Orders with an id above `after`, oldest first."""
        with closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(_ORDERS_AFTER, (after,))
            return [OrderRecord(*row) for row in cursor.fetchall()]

    def order(self, at: float, kind: str, job: JobId | None, by: str) -> None:
        """Write an order; the agent takes it up within a second, or when it starts."""
        with synced(self.engine) as connection:
            connection.execute(sa.insert(orders), {"at": at, "kind": kind, "job": job, "by": by})

    @contextmanager
    def _rows(self, query: sa.Select[Any]) -> Iterator[Sequence[Mapping[str, Any]]]:
        with self.engine.connect() as connection:
            yield [dict(row) for row in connection.execute(query).mappings()]


# Compiled once, and asked of the driver itself: it is asked every second.
_ORDERS_AFTER = str(
    sa.select(orders)
    .where(orders.c.id > sa.bindparam("after"))
    .order_by(orders.c.id)
    .compile(dialect=sqlite.dialect())
)


def storable(text: str) -> str:
    """`text` with half surrogates spelt out: JSON can hold them, UTF-8 and so SQLite can't."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _make_storable(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            row[name] = storable(value)


def _plain(record: Event | LaunchRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _grouped(
    waiting: Sequence[tuple[sa.Table, dict[str, Any]]],
) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    tables = dict.fromkeys(table for table, _ in waiting)
    for table in tables:
        yield table, [row for owner, row in waiting if owner is table]


def _event(row: Mapping[str, Any]) -> Event:
    return Event(**{name: row[name] for name in Event.__dataclass_fields__})


def _launch(row: Mapping[str, Any]) -> LaunchRecord:
    fields = {name: row[name] for name in LaunchRecord.__dataclass_fields__}
    return LaunchRecord(**{**fields, "phase": LaunchPhase(row["phase"])})
