"""A key of its own for each row that a server is given; which process wrote a member's row, and
when another one last did under the same name.

A file answers for itself: its rows have no key, nor have those of before and of older versions.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agent.journal.migrations.beside import at_once

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ADDED = (
    ("timeline", "key", sa.Uuid()),
    ("launches", "key", sa.Uuid()),
    ("members", "process", sa.Text()),
    ("members", "twin_seen", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    at_once()
    for table, name, kind in ADDED:
        op.add_column(table, sa.Column(name, kind))


def downgrade() -> None:
    for table, name, _ in ADDED:
        op.drop_column(table, name)
