"""One transaction a nonce: two processes with one key can't both record theirs.

Of records that older versions made twice, all but one that is in a block, or the newest, count as
lost, which is what the chain made of them.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from itertools import pairwise

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


MINED = ("mined", "reverted", "failed")  # in a block: these did take their nonce


def upgrade() -> None:
    connection = op.get_bind()
    twice = connection.execute(
        sa.text(
            "SELECT key, send, nonce, status, created_at FROM transactions WHERE status <> 'lost'"
            " AND nonce IN (SELECT nonce FROM transactions WHERE status <> 'lost'"
            " GROUP BY nonce HAVING count(*) > 1)"
        )
    ).all()
    in_order = sorted(twice, key=lambda row: (row.nonce, row.status in MINED, row.created_at))
    lost = sa.text(
        "UPDATE transactions SET status = 'lost', final = :yes WHERE key = :key AND send = :send"
    )
    for row, after in pairwise(in_order):
        if row.nonce == after.nonce:
            connection.execute(lost, {"key": row.key, "send": row.send, "yes": True})
    op.create_index(
        "transactions_nonce", "transactions", ["nonce"], unique=True,
        sqlite_where=sa.text("status != 'lost'"), postgresql_where=sa.text("status <> 'lost'"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("transactions_nonce", "transactions")
