"""The agent's side of the journal: what happened when. Append-only.

The journal is for people, and saves the agent repetition. No decision needs it but what only a
person can order (exits, confirmed terminations): chain and tags say the rest, so losing the file
loses history.

Records are buffered, and committed together: once a turn of the event loop for all who wait on
`durable`. A disk that is full makes the journal `degraded`, never the agent dead. A row that can't
be stored is a bug: it alone is dropped, with an error, and those who wait are told (`Unstorable`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError

from agent.journal.lines import Event, LaunchRecord
from agent.journal.schema import launches, storable, timeline

log = structlog.get_logger()

MAX_WAITING = 100_000  # records kept while the disk refuses them; the oldest go first

_INSERTS = {table: sa.insert(table) for table in (timeline, launches)}

# What sqlite3 raises of the disk or the file (a damaged one: DatabaseError itself); the classes
# beside these (DataError, ProgrammingError, …), and all that is not sqlite3's, are of the row.
_OF_THE_DISK = (OperationalError, InternalError, DatabaseError)


class Unstorable(Exception):  # no Fault: no caller foresees it
    """Rows that were waited for were dropped: what they announce must not be done."""


class Journal:
    """The agent's writer; `agent.journal.reading` is for everybody else."""

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
