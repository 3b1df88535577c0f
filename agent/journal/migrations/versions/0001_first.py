"""Timelines, launch intents, transactions, orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

# 64 bits on PostgreSQL too, where Integer has 32; SQLite's integers are as long as they need to be.
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "timeline",
        sa.Column("id", Big, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("job", Big),
        sa.Column("generation", Big),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("level", Big, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
    )
    op.create_index("timeline_job", "timeline", ["job", "id"])
    op.create_table(
        "launches",
        sa.Column("id", Big, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("job", Big, nullable=False),
        sa.Column("generation", Big, nullable=False),
        sa.Column("attempt", Big, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("instance_type", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("instance", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("launches_job", "launches", ["job", "id"])
    op.create_table(
        "transactions",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("send", Big, primary_key=True),
        sa.Column("job", Big),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("nonce", Big, nullable=False),
        sa.Column("gas", Big, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("block", Big, nullable=False),
        # Wei as text: more than SQLite's 64 bits are possible.
        sa.Column("fee", sa.Text, nullable=False),
        sa.Column("worst_fee", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("transactions_open", "transactions", ["final", "nonce"])
    op.create_index("transactions_created", "transactions", ["created_at"])
    op.create_table(
        "orders",
        sa.Column("id", Big, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("job", Big),
        sa.Column("by", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("orders", "transactions", "launches", "timeline"):
        op.drop_table(table)
