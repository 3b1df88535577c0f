"""Rows into the journal, in one transaction, from whatever thread.

A disk that refuses is said with what it says; a row that can't be stored is dropped alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
import structlog

from agent.journal.engines import OF_THE_DISK, alone
from agent.journal.schema import launches, timeline
from faults import Fenced

log = structlog.get_logger()

Row: TypeAlias = tuple[sa.Table, dict[str, Any]]
Fence: TypeAlias = Callable[[sa.Connection], None]
"""First in a writing transaction; raises Fenced where another host leads."""

_INSERTS = {table: sa.insert(table) for table in (timeline, launches)}


def commit(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """All of `rows` in one transaction; how many were dropped, mostly none.

    Raises Fenced, and DatabaseError where it is the disk or the file that refuses: then nothing
    was stored.
    """
    try:
        with engine.begin() as connection:
            fence(connection)
            for table, values in _grouped(rows):
                connection.execute(_INSERTS[table], values)
    except Exception as broken:
        if type(broken) in OF_THE_DISK or isinstance(broken, Fenced):
            raise
        return _commit_singly(engine, rows, fence)
    return 0


def _commit_singly(engine: sa.Engine, rows: Sequence[Row], fence: Fence) -> int:
    """A statement that fails takes only itself back, so the good rows are kept."""
    bad = list[tuple[sa.Table, dict[str, Any], Exception]]()
    with engine.begin() as connection:
        fence(connection)
        for table, row in rows:
            try:
                with alone(connection):
                    connection.execute(_INSERTS[table], [row])
            except Exception as broken:
                if type(broken) in OF_THE_DISK:
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
