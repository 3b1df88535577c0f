"""Keys are there once, on a server; and lines are found by their name: a start asks for some twenty
names, and read all of the history for each.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agent.journal.migrations.beside import index_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("timeline", "launches")


def upgrade() -> None:
    index_beside("timeline_name", "timeline", ["name", "job", "id"])
    if op.get_context().dialect.name == "postgresql":
        there = sa.text("key IS NOT NULL")
        for table in TABLES:
            index_beside(f"{table}_key", table, ["key"], unique=True, where=there)


def downgrade() -> None:
    op.drop_index("timeline_name", "timeline")
    for table in TABLES:
        op.drop_index(f"{table}_key", table, if_exists=True)
