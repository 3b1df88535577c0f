"""A connection to PostgreSQL that does not wait for ever.

The server ends a statement that takes too long, and the system a connection whose bytes nobody
acknowledges. A backend or a proxy that stands still does neither: its machine acknowledges, and no
answer comes. psycopg is imported here, and this module only where a server is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

CANCEL_SECONDS = 1.0


class PatientConnection(psycopg.Connection[Any]):
    """psycopg's, closed by the first answer that does not come within `patience_seconds`."""

    patience_seconds = math.inf

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's, which every statement goes through. Raises OperationalError."""
        if timeout is not None or math.isinf(self.patience_seconds):
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience_seconds)
        except psycopg.OperationalError as error:
            said = error.sqlstate is not None  # by the server
            if said or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
        # The statement is still under way: what comes next would read its answer, and a commit that
        # waits for a standby of the database's would keep its backend and its locks for ever.
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=CANCEL_SECONDS)
        self.pgconn.finish()
        text = f"no answer within {self.patience_seconds:.0f} s; the connection is closed"
        raise psycopg.OperationalError(text)


def connect_by(patience_seconds: float) -> Callable[..., PatientConnection]:
    """What SQLAlchemy's `do_connect` asks for a connection of the pool."""
    return partial(_connected, patience_seconds)


def _connected(
    patience_seconds: float, _dialect: object, _record: object, how: Sequence[Any], more: Any
) -> PatientConnection:
    connection = PatientConnection.connect(*how, **more)
    connection.patience_seconds = patience_seconds
    return connection
