"""Rows into the journal, in one transaction, from whatever thread.

A disk that refuses is said with what it says; a row that can't be stored is dropped alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql

from agent.journal.engines import Fence, alone, noting
from agent.journal.refusals import Refusal, of_whom
from agent.journal.schema import launches, timeline
from faults import Fenced

log = structlog.get_logger()

Row: TypeAlias = tuple[sa.Table, dict[str, Any]]

_AT_ONCE = 1000  # rows of one statement, which has so long to be answered as any other


def _once(table: sa.Table) -> postgresql.Insert:
    """Nothing where the row is there: a server may have stored it, and its answer was lost. Where
    another session holds it uncommitted this waits, as long as a statement may."""
    return postgresql.insert(table).on_conflict_do_nothing(
        index_elements=[table.c.key], index_where=table.c.key.is_not(None)
    )


_TABLES = (timeline, launches)
_INSERTS: Mapping[str, Mapping[sa.Table, sa.Insert]] = {
    "sqlite": {table: sa.insert(table) for table in _TABLES},
    "postgresql": {table: _once(table) for table in _TABLES},
}


def commit(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """All of `rows` in one transaction; how many were dropped, mostly none. Given again to a server
    that stored them, they are there once.

    Raises Fenced, and what the driver does where it is the disk, the file or the server that
    refuses (`refusals.of_whom`): then nothing was stored.
    """
    inserts = _INSERTS[engine.dialect.name]
    try:
        with noting(engine, fence) as connection:
            for table, values in _grouped(rows):
                for first in range(0, len(values), _AT_ONCE):
                    connection.execute(inserts[table], values[first : first + _AT_ONCE])
    except Exception as broken:
        if isinstance(broken, Fenced) or of_whom(broken) is not Refusal.ROW:
            raise
        return _commit_singly(engine, rows, fence)
    return 0


def _commit_singly(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """A statement that fails takes only itself back, so the good rows are kept."""
    inserts = _INSERTS[engine.dialect.name]
    bad = list[tuple[sa.Table, dict[str, Any], Exception]]()
    with noting(engine, fence) as connection:
        for table, row in rows:
            try:
                with alone(connection):
                    connection.execute(inserts[table], [row])
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
