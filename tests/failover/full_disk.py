"""A database whose disk is full: the journal in a tablespace on a tiny file system of its own.

The write-ahead log stays where there is room: where it has none PostgreSQL ends, and a server that
is away is another row. Mounting needs root; who is not skips.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from agent.journal.schema import launches, orders, spots, timeline
from agent.journal.transactions import transactions

Run = Callable[[str], object]

DISK_FULL = "53100"
SIZE = "16m"
TABLES = (timeline, launches, orders, transactions, spots)


@contextmanager
def full(engine: sa.Engine) -> Iterator[None]:
    """Not one row more fits into the journal's tables, and what leads and who is a member can be
    told as ever. Within it each insert is refused by PostgreSQL's own 53100."""
    with engine.connect() as connection:
        data = Path(str(connection.scalar(sa.text("SHOW data_directory"))))
    with _mounted(data.stat()) as folder, _alone(engine) as run:
        run(f"CREATE TABLESPACE tiny LOCATION '{folder}'")
        try:
            for table in TABLES:  # a page that has a row takes no more: an insert needs a new one
                run(f"ALTER TABLE {table.name} SET (fillfactor = 10)")
                run(f"ALTER TABLE {table.name} SET TABLESPACE tiny")
            _fill(run)
            with _pages_filled(engine):
                yield
        finally:
            run("DROP TABLE IF EXISTS filler")
            for table in TABLES:
                run(f"ALTER TABLE {table.name} SET TABLESPACE pg_default")
                run(f"ALTER TABLE {table.name} RESET (fillfactor)")
            run("DROP TABLESPACE tiny")


def _fill(run: Run) -> None:
    run("CREATE TABLE filler (x text) TABLESPACE tiny")
    run("ALTER TABLE filler ALTER x SET STORAGE PLAIN")
    for rows in (100, 10, 1):
        try:
            while True:
                run(f"INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, {rows})")
        except sa.exc.OperationalError as refused:
            if getattr(refused.orig, "sqlstate", "") != DISK_FULL:
                raise


@contextmanager
def _pages_filled(engine: sa.Engine) -> Iterator[None]:
    """What is left of the tables' last pages is taken by rows that nobody sees: they are never
    committed."""
    with engine.connect() as connection:
        connection.execute(sa.text("SET idle_in_transaction_session_timeout = 0"))
        for table in TABLES:
            for number in count(1):
                if not _fits(connection, sa.insert(table).values(_small(table, number))):
                    break
        yield


def _small(table: sa.Table, number: int) -> dict[str, Any]:
    """A row that no other is like."""
    columns = (column for column in table.columns if column.name != "id")
    return {column.name: _value(column.type, number) for column in columns}


def _value(kind: sa.types.TypeEngine[Any], number: int) -> Any:
    plain = {
        sa.JSON: {}, sa.Boolean: True, sa.LargeBinary: b"", sa.Text: str(-number),
        sa.Uuid: UUID(int=number),
    }  # fmt: skip
    return next((value for each, value in plain.items() if isinstance(kind, each)), -number)


def _fits(connection: sa.Connection, inserts: sa.Insert) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(inserts)
    except sa.exc.OperationalError as refused:
        if getattr(refused.orig, "sqlstate", "") != DISK_FULL:
            raise
        return False
    return True


@contextmanager
def _mounted(owner: os.stat_result) -> Iterator[Path]:
    """A folder of the server's account, on a file system of SIZE."""
    if os.geteuid():
        pytest.skip("a file system of its own is mounted by root alone")
    with tempfile.TemporaryDirectory(prefix="oyster-tiny-") as name:
        folder = Path(name)
        options = f"size={SIZE},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        folder.chmod(0o755)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", name], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        try:
            (folder / "tiny").mkdir(mode=0o700)
            os.chown(folder / "tiny", owner.st_uid, owner.st_gid)
            yield folder / "tiny"
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[Run]:
    """Statements that are transactions of their own, and wait for locks as long as it takes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text("SET lock_timeout = 0"))
        try:
            yield lambda statement: connection.execute(sa.text(statement))
        finally:
            connection.invalidate()
