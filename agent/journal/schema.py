"""The journal's tables, and the migrations that bring a database up to date.

The same on SQLite and on PostgreSQL. SQLite in WAL mode: the CLI reads, and writes orders, while
the agent runs.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

SCHEMA = "0008"  # the newest of migrations/versions

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both: SQLite's integers are as long as they need to be."""

metadata = sa.MetaData()
timeline = sa.Table(
    "timeline",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("job", Big),
    sa.Column("generation", Big),
    sa.Column("name", sa.Text),
    sa.Column("level", Big),
    sa.Column("text", sa.Text),
    sa.Column("fields", sa.JSON),
    sa.Column("key", sa.Uuid),  # of the row: written to a server again, it is there once
)
launches = sa.Table(
    "launches",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("job", Big),
    sa.Column("generation", Big),
    sa.Column("attempt", Big),
    sa.Column("region", sa.Text),
    sa.Column("instance_type", sa.Text),
    sa.Column("phase", sa.Text),
    sa.Column("instance", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("key", sa.Uuid),
)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("at", sa.Float),
    sa.Column("kind", sa.Text),
    sa.Column("job", Big),
    sa.Column("by", sa.Text),
    sa.Column("fields", sa.JSON),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text),
    sa.Column("token", sa.Text),
    sa.Column("term", Big),
    sa.Column("since", sa.DateTime(timezone=True)),
    sa.Column("until", sa.DateTime(timezone=True)),
)
members = sa.Table(
    "members",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("version", sa.Text),
    sa.Column("config_digest", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("seen", sa.DateTime(timezone=True)),
    sa.Column("process", sa.Text),  # who wrote the row
    sa.Column("twin_seen", sa.DateTime(timezone=True)),  # another process of that name wrote
)

spots = sa.Table(
    "spots",
    metadata,
    sa.Column("order_key", sa.Text, primary_key=True),
    sa.Column("spot", sa.JSON),
    sa.Column("at", sa.Float),
)


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest version, in one transaction.

    Alembic is loaded only when there is something to do: it costs a start 0.3 s of CPU.
    """
    found = _version(engine)
    if found is not None and found >= SCHEMA:
        return  # a newer one only added to it
    from alembic import command
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        _wait_for_others(connection)
        now = _version_on(connection)
        if now is not None and now >= SCHEMA:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(engine: sa.Engine) -> str | None:
    """What alembic noted in the file; None when it has never been there."""
    with engine.connect() as connection:
        return _version_on(connection)


def _version_on(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _wait_for_others(connection: sa.Connection) -> None:
    """Two processes may start at once; the second finds nothing left to do."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if connection.dialect.name == "postgresql":
        # Modules are read between its statements, and no lease's row is held meanwhile. An index
        # of years of lines takes longer to make than any statement of ours may take otherwise.
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))


_MIGRATING = 0x6F797374  # "oyst"
