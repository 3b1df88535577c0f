"""What bounds a statement, a wait for a lock and a silent transaction at PostgreSQL.

Settings of the session, where it is ours. Behind a pooler (pgbouncer, a managed proxy) each
transaction may get another backend, and a setting stays there for whoever is given it next: a look
at the lease, the reading of a history, another program. There each transaction brings its own.
psycopg is imported by who calls this, and never here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

# A host that hangs, or is cut off, between two statements of a transaction holds the lease's row,
# and nobody could take the lease: the server ends such a session. No transaction of ours pauses.
IDLE_MILLISECONDS = 1_000

_POOLED = "oyster_pooled"  # of a connection, in what SQLAlchemy keeps beside it


@dataclass(frozen=True, slots=True)
class Limits:
    """Milliseconds; 0: none."""

    statement: int
    lock: int
    idle: int

    def said(self, how: str) -> str:
        """The statements that set them, `how`: of the session or of the transaction."""
        values = {
            "statement_timeout": self.statement,
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle,
        }
        return "; ".join(f"SET {how} {name} = {value:d}" for name, value in values.items())


def limits_of(patience_milliseconds: int) -> Limits:
    """For a statement that may take so long."""
    patience = patience_milliseconds
    return Limits(patience, patience, max(IDLE_MILLISECONDS, patience // 10))


def of_migrations(patience_milliseconds: int) -> Limits:
    """Modules are read between its statements, and no lease's row is held meanwhile. An index of
    years of lines takes longer to make than any statement of ours may take otherwise."""
    return Limits(0, patience_milliseconds, 0)


def limit(engine: sa.Engine, limits: Limits) -> None:
    """Have all connections of the engine keep them."""
    sa.event.listen(engine, "connect", partial(_of_session, limits))
    sa.event.listen(engine, "begin", partial(_of_transaction, limits))


def is_pooled(connection: sa.Connection) -> bool:
    """Whether this connection's next transaction may have another backend."""
    return bool(connection.info.get(_POOLED))


def _of_session(limits: Limits, connection: Any, record: Any) -> None:
    """A pooler tells each of its clients a process number of its own making: it can't tell the
    backend's."""
    with connection.cursor() as cursor:
        (backend,) = cursor.execute("SELECT pg_backend_pid()").fetchone()
        record.info[_POOLED] = backend != connection.info.backend_pid
        if not record.info[_POOLED]:
            cursor.execute(limits.said("SESSION"))
    connection.commit()


def _of_transaction(limits: Limits, connection: sa.Connection) -> None:
    if is_pooled(connection):
        connection.exec_driver_sql(limits.said("LOCAL"))
