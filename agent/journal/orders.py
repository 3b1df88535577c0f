"""What a person orders: written by a command, carried through by the agent, whoever dies between.

The only rows of the journal that chain and tags can't say again, so they are on the disk before the
command says that they are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from agent.journal.schema import orders, synced
from agent.market.model import JobId
from faults import RetryLater

_NONE: Mapping[str, Any] = {}


class OrderKind:
    """What a person can order; the agent carries it through, whatever happens to it meanwhile."""

    EXIT = "exit"
    EXIT_ALL = "exit-all"
    CANCEL_EXIT_ALL = "cancel-exit-all"
    CONFIRM_TERMINATIONS = "confirm-terminations"
    OFFER = "offer"  # fields: type, price (10^-12 base units a second, as text)
    REMOVE_OFFER = "remove-offer"  # fields: type
    PAUSE = "pause"  # nothing is listed, every job stays
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order of the operator; `job` None concerns all. `fields` say what else it takes."""

    id: int
    at: float
    kind: str
    job: JobId | None
    by: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Orders:
    """The operator's orders, from any process."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def after(self, last: int = 0) -> list[OrderRecord]:
        """Orders with an id above `last`, oldest first. Raises RetryLater: the file is held."""
        try:
            with closing(self._engine.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute(_ORDERS_AFTER, (last,))
                return [_record(*row) for row in cursor.fetchall()]
        except sqlite3.OperationalError as now:
            raise RetryLater(f"orders can't be read just now: {now}") from None

    def place(
        self, at: float, kind: str, job: JobId | None, by: str, fields: Mapping[str, Any] = _NONE
    ) -> int:
        """Write an order, and its number; the agent takes it up within a second, or when it
        starts."""
        row = {"at": at, "kind": kind, "job": job, "by": by, "fields": dict(fields)}
        with synced(self._engine) as connection:
            return int(connection.scalar(sa.insert(orders).values(row).returning(orders.c.id)) or 0)


def _record(
    number: int, at: float, kind: str, job: JobId | None, by: str, fields: str | None
) -> OrderRecord:
    """Orders of versions before had no fields."""
    return OrderRecord(number, at, kind, job, by, json.loads(fields) if fields else {})


# Compiled once, and asked of the driver itself: it is asked every second.
_ORDERS_AFTER = str(
    sa.select(orders)
    .where(orders.c.id > sa.bindparam("after"))
    .order_by(orders.c.id)
    .compile(dialect=sqlite.dialect())
)
