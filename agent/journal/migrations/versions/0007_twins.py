"""Which process wrote a member's row, and when another one last did under the same name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("members", sa.Column("process", sa.Text))
    op.add_column("members", sa.Column("twin_seen", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("members", "twin_seen")
    op.drop_column("members", "process")
