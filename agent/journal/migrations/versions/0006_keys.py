"""A key of its own for each row that a server is given, so that written again it is there once.

A file answers for itself: its rows have none, nor have those of before and of older versions.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("timeline", "launches")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("key", sa.Uuid))
        if op.get_bind().dialect.name == "postgresql":
            there = sa.text("key IS NOT NULL")
            op.create_index(f"{table}_key", table, ["key"], unique=True, postgresql_where=there)


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"{table}_key", table, if_exists=True)
        op.drop_column(table, "key")
