"""Lines by their name: a start asks for some twenty names, and read all of the history for each."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("timeline_name", "timeline", ["name", "job", "id"])


def downgrade() -> None:
    op.drop_index("timeline_name", "timeline")
