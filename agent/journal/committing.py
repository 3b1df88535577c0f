"""Rows into the journal, in one transaction, from whatever thread.

A disk that refuses is said with what it says; a row that can't be stored is dropped alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
import structlog

from agent.journal.engines import Fence, alone, noting
from agent.journal.refusals import Refusal, of_whom
from agent.journal.schema import launches, timeline
from faults import Fenced

log = structlog.get_logger()

Row: TypeAlias = tuple[sa.Table, dict[str, Any]]

_INSERTS = {table: sa.insert(table) for table in (timeline, launches)}
_AT_ONCE = 1000  # rows of one statement, which has so long to be answered as any other
_NEWEST = 10_000  # rows of others that may have come after those of which an answer was lost
_SAY = {
    timeline: ("at", "job", "generation", "name", "text"),
    launches: ("at", "job", "generation", "attempt", "phase"),
}


def commit(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """All of `rows` in one transaction; how many were dropped, mostly none.

    Raises Fenced, and what the driver does where it is the disk, the file or the server that
    refuses (`refusals.of_whom`): then nothing was stored.
    """
    try:
        with noting(engine, fence) as connection:
            for table, values in _grouped(rows):
                for first in range(0, len(values), _AT_ONCE):
                    connection.execute(_INSERTS[table], values[first : first + _AT_ONCE])
    except Exception as broken:
        if isinstance(broken, Fenced) or of_whom(broken) is not Refusal.ROW:
            raise
        return _commit_singly(engine, rows, fence)
    return 0


def unstored(engine: sa.Engine, rows: Sequence[Row]) -> list[Row]:
    """Those of `rows` that are not in the journal: a server may have stored what it was given, and
    its answer was lost. Raises what the driver does."""
    left = list(rows)
    for table in dict.fromkeys(table for table, _ in rows):
        columns = [table.c[name] for name in _SAY[table]]
        newest = sa.select(*columns).order_by(table.c.id.desc()).limit(len(rows) + _NEWEST)
        with noting(engine, lambda connection: None) as connection:
            there = {tuple(found) for found in connection.execute(newest)}
        left = [row for row in left if row[0] is not table or _says(*row) not in there]
    return left


def _says(table: sa.Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _SAY[table])


def _commit_singly(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """A statement that fails takes only itself back, so the good rows are kept."""
    bad = list[tuple[sa.Table, dict[str, Any], Exception]]()
    with noting(engine, fence) as connection:
        for table, row in rows:
            try:
                with alone(connection):
                    connection.execute(_INSERTS[table], [row])
            except Exception as broken:
                if of_whom(broken) is not Refusal.ROW:
                    raise
                bad.append((table, row, broken))
    for table, row, why in bad:
        said = f"{row!r:.1000}"
        log.error("journal.row_dropped", table=table.name, row=said, exc_info=why)
    return len(bad)


def _grouped(
    rows: Sequence[Row],
) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    tables = dict.fromkeys(table for table, _ in rows)
    for table in tables:
        yield table, [row for owner, row in rows if owner is table]
