"""Steps of a migration that let an older leader go on: it renews its lease each second, and a write
of its own that waits keeps that waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

from agent.journal.limits import is_pooled

AT_ONCE_MILLISECONDS = 500


def at_once() -> None:
    """For a step that takes no time once it has the table to itself. Whoever writes waits behind it
    until it has: it gives up before that matters, and is tried again."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"SET LOCAL lock_timeout = {AT_ONCE_MILLISECONDS}")


def index_beside(
    name: str, table: str, columns: Sequence[str], *, unique: bool = False, where: Any = None
) -> None:
    """An index that a server makes while others write, however long that takes. One that was left
    half made, by a server or an agent that ended meanwhile, is made anew."""
    if op.get_context().dialect.name == "sqlite":
        op.create_index(name, table, columns, unique=unique)
        return
    with op.get_context().autocommit_block(), _patient():
        if _is_half_made(name):
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name, table, columns, unique=unique, if_not_exists=True,
            postgresql_where=where, postgresql_concurrently=True,
        )  # fmt: skip


def _is_half_made(name: str) -> bool:
    query = "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
    return bool(op.get_bind().scalar(sa.text(query), {"name": name}))


@contextmanager
def _patient() -> Iterator[None]:
    """It waits for transactions of others, and none of them for it. A pooler's sessions have no
    limits of ours."""
    connection = op.get_bind()
    if is_pooled(connection):
        yield
        return
    before = connection.scalar(sa.text("SHOW lock_timeout"))
    connection.execute(sa.text("SET lock_timeout = 0"))
    yield
    connection.execute(sa.text(f"SET lock_timeout = '{before}'"))
