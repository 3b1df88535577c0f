"""The journal's tables, its file, and the migrations that bring the file up to date.

SQLite in WAL mode: the CLI reads, and writes orders, while the agent runs.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from faults import MustStop, RetryLater

SCHEMA = "0002"  # the newest of migrations/versions
BUSY_MILLISECONDS = 5_000  # how long a writer waits for another process's commit
LOOP_MILLISECONDS = 100  # the same for who sits on the agent's loop: then it is asked again later
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

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
    sa.Column("fields", sa.JSON),
)


def open_engine(path: Path, busy_milliseconds: int = BUSY_MILLISECONDS) -> sa.Engine:
    """An engine on the journal's file, its schema current.

    Raises RetryLater while another process holds the file, MustStop when it can't be opened.
    """
    _own(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    sa.event.listen(engine, "connect", partial(_prepare, busy_milliseconds))
    try:
        migrate(engine)
    except DatabaseError as broken:
        engine.dispose()
        if getattr(broken.orig, "sqlite_errorcode", None) in _BUSY:
            raise RetryLater(f"another process holds the journal {path}: {broken.orig}") from None
        raise MustStop(f"the journal {path} can't be opened: {broken.orig}; move it away") from None
    return engine


def _own(path: Path) -> None:
    """The file is its owner's alone, whoever makes it first and whatever umask that one has; what
    SQLite puts beside it gets the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


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


def _prepare(busy_milliseconds: int, connection: Any, _record: object) -> None:
    """WAL, so that readers and the agent do not wait for each other. NORMAL syncs at checkpoints:
    what a power cut takes back, chain and tags still know. What they don't know is `synced`."""
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={busy_milliseconds}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def asking(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reads. Raises RetryLater while the file can't be read."""
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as now:
        raise RetryLater(f"the journal can't be read just now: {now.orig}") from None


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


def storable(text: str) -> str:
    """`text` with half surrogates spelt out: JSON can hold them, UTF-8 and so SQLite can't."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
