"""What an order says beside its kind and job: an offer's type and price."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("fields", sa.JSON))


def downgrade() -> None:
    op.drop_column("orders", "fields")
