"""Moves a journal from a file to a server, once: all of it or nothing.

Everything is one transaction of the server's, in which the counts are compared before it ends: a
copy that is cut short leaves the server as empty as it was, and is begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from agent.journal.engines import asking, changing, storable_json
from agent.journal.schema import launches, leases, orders, spots, timeline
from agent.journal.transactions import transactions
from faults import Bug, Refused

TABLES = (timeline, launches, orders, transactions)
NUMBERED = (timeline, launches, orders)  # the server goes on counting behind the copied
ROWS_AT_ONCE = 1_000

Spot = Mapping[str, Any]
"""Where one launch was sent, as a row."""


def copy(file: sa.Engine, server: sa.Engine, sent: Sequence[Spot]) -> dict[str, int]:
    """Rows by table. `sent` are the launches that this host noted in its folder, which hosts share
    from now on.

    Raises Refused: the server has rows already, or a host leads with it; RetryLater: one of both is
    held or away, and nothing was copied.
    """
    with asking(file) as source, changing(server, "the journal can't be copied") as target:
        source.exec_driver_sql("BEGIN IMMEDIATE")  # nobody writes there meanwhile
        names = ", ".join(f'"{table.name}"' for table in (*TABLES, spots, leases))
        target.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        _refuse_unless_empty(target)
        copied = {table.name: _copy_table(table, source, target) for table in TABLES}
        copied[spots.name] = _insert(spots, sent, target)
        for table in NUMBERED:
            _count_on(table, target)
        for name, count in copied.items():
            _compare(name, count, target)
        return copied


def _refuse_unless_empty(target: sa.Connection) -> None:
    leads = sa.select(leases.c.holder).where(leases.c.until > sa.func.clock_timestamp())
    if (holder := target.scalar(leads.limit(1))) is not None:
        raise Refused(f"host {holder} leads with that server: end the agents of all hosts first")
    for table in (*TABLES, spots):
        if target.execute(sa.select(table).limit(1)).first() is not None:
            text = f"the server's journal is not empty (table {table.name})"
            raise Refused(f"{text}: copy into a database that no agent has written to")


def _copy_table(table: sa.Table, source: sa.Connection, target: sa.Connection) -> int:
    ordered = sa.select(table).order_by(*table.primary_key.columns)
    rows = source.execution_options(yield_per=ROWS_AT_ONCE).execute(ordered).mappings()
    written = _insert(table, cast(Iterable[Mapping[str, Any]], rows), target)
    there = source.scalar(sa.select(sa.func.count()).select_from(table))
    if written != there:
        raise Bug(f"table {table.name}: the file has {there} rows, {written} were read")
    return written


def _insert(table: sa.Table, rows: Iterable[Mapping[str, Any]], target: sa.Connection) -> int:
    count = 0
    for batch in _batches(rows):
        target.execute(sa.insert(table), batch)
        count += len(batch)
    return count


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = list[dict[str, Any]]()
    for row in rows:
        batch.append({name: storable_json(value) for name, value in row.items()})
        if len(batch) == ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _count_on(table: sa.Table, target: sa.Connection) -> None:
    """Orders are told apart by their number: a new one gets none that was copied."""
    highest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
    counter = sa.func.pg_get_serial_sequence(table.name, "id")
    target.execute(
        sa.select(sa.func.setval(counter, sa.func.coalesce(highest, 1), highest.is_not(None)))
    )


def _compare(name: str, count: int, target: sa.Connection) -> None:
    table = {each.name: each for each in (*TABLES, spots)}[name]
    there = target.scalar(sa.select(sa.func.count()).select_from(table))
    if there != count:
        raise Bug(f"table {name}: {count} rows were written, the server has {there}")
