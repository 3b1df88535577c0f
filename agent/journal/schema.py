"""The journal's tables; `agent.journal.migrating` brings a database up to date.

The same on SQLite and on PostgreSQL. SQLite in WAL mode: the CLI reads, and writes orders, while
the agent runs.
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA = "0007"  # the newest of migrations/versions

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
