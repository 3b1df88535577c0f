"""Brings a journal's database up to date, one process at a time.

A file is as it was, or as it has to be. A server goes through the versions one by one, and an older
leader writes to it meanwhile: `agent.journal.migrations.beside` has what that asks of them.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from agent.journal.schema import SCHEMA
from faults import RetryLater

_LOOKS = 50  # for another process that migrates, a tenth of a second each
_TURN = f"SELECT pg_try_advisory_xact_lock({0x6F797374})"  # "oyst"
_PAUSE = "SELECT pg_sleep(0.1)"
# The simple protocol. A statement with parameters leaves its portal open until the transaction
# ends, and an index that is made beside others waits for the snapshot in it: for this very turn.
_PLAIN = {"no_parameters": True}


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest version. Raises RetryLater: another process is at it.

    Alembic is loaded only when there is something to do: it costs a start 0.3 s of CPU.
    """
    with engine.connect() as connection:
        if is_current(connection):
            return
    if engine.dialect.name == "sqlite":
        _as_a_whole(engine)
    else:
        _one_by_one(engine)


def is_current(connection: sa.Connection) -> bool:
    """By what alembic noted there. A newer version only added to what is known here."""
    found = _version(connection)
    return found is not None and found >= SCHEMA


def is_behind(connection: sa.Connection) -> bool:
    """Whether there is a journal, and of an older version."""
    found = _version(connection)
    return found is not None and found < SCHEMA


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _as_a_whole(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if not is_current(connection):
            _upgrade(connection)


def _one_by_one(engine: sa.Engine) -> None:
    with engine.connect() as turn, engine.connect() as connection:
        _take_turn(turn)
        current = is_current(connection)
        connection.rollback()
        if not current:
            _upgrade(connection)


def _take_turn(connection: sa.Connection) -> None:
    """Until this transaction ends. Asked again and again instead of waited for: an index that is
    made beside others waits for every statement that is under way."""
    for _ in range(_LOOKS):
        if connection.exec_driver_sql(_TURN, execution_options=_PLAIN).scalar():
            return
        connection.exec_driver_sql(_PAUSE, execution_options=_PLAIN)
        connection.rollback()
    raise RetryLater("another process brings the journal's schema up to date")


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
