"""What a person orders: written by a command, carried through by the agent, whoever dies between.

The only rows of the journal that chain and tags can't say again, so they are on the disk before the
command says that they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from agent.journal.engines import asking, changing
from agent.journal.schema import orders, timeline
from agent.market.model import JobId

_NONE: Mapping[str, Any] = {}
WAITED_SECONDS = 60.0  # far longer than any transaction that places an order


class OrderKind:
    """What a person can order; the agent carries it through, whatever happens to it meanwhile."""

    EXIT = "exit"
    EXIT_ALL = "exit-all"
    CANCEL_EXIT_ALL = "cancel-exit-all"
    CONFIRM_TERMINATIONS = "confirm-terminations"
    # fields: type, price (10^-12 base units a second, as text); by rule also rule, floor, undercut,
    # each as the file has it; said: what the file has as its price
    OFFER = "offer"
    REMOVE_OFFER = "remove-offer"  # fields: type
    PAUSE = "pause"  # nothing is listed, every job stays
    RESUME = "resume"
    YIELD = "yield"  # fields: term: of the host that is to let another lead


_AFTER_LINE = "after_line"  # among a row's fields


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the journal: its number, and the time by the clock of the host that wrote it."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order of the operator; `job` None concerns all. `fields` say what else it takes."""

    id: int
    at: float
    kind: str
    job: JobId | None
    by: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    after_line: int | None = None  # the journal's last when it was placed; None: not known

    def follows(self, line: Line) -> bool:
        """Whether whoever placed it could have seen the line: by the journal's order, for the two
        may be of different hosts; by their times where an earlier version placed it."""
        if self.after_line is None:
            return line.at <= self.at
        return line.number <= self.after_line


@dataclass(slots=True)
class Taken:
    """Which orders were taken up: all up to `last`, but for those that were `missing` then.

    On a server an order may become visible after one with a higher number: two commands at once.
    A number is waited for as long as a transaction can last, and then was given to nobody.
    """

    last: int = 0
    missing: dict[int, float] = field(default_factory=dict)  # since when, unix seconds

    def take(self, found: Sequence[OrderRecord], now: float) -> list[OrderRecord]:
        """Those of `found` that are new, oldest first."""
        fresh = [one for one in found if one.id > self.last or one.id in self.missing]
        for one in fresh:
            self.missing.pop(one.id, None)
            if self.last:
                self.missing |= dict.fromkeys(range(self.last + 1, one.id), now)
            self.last = max(self.last, one.id)
        self.missing = {n: at for n, at in self.missing.items() if now - at < WAITED_SECONDS}
        return fresh


# Asked each second for years: made once.
_LATER = orders.c.id > sa.bindparam("last")
_AMONG = orders.c.id.in_(sa.bindparam("also", expanding=True))
_AFTER = sa.select(orders).where(_LATER).order_by(orders.c.id)
_AFTER_OR_OF = sa.select(orders).where(sa.or_(_LATER, _AMONG)).order_by(orders.c.id)


class Orders:
    """The operator's orders, from any process."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def after(self, last: int = 0, also: Collection[int] = ()) -> list[OrderRecord]:
        """Orders with a number above `last`, and those of `also`, oldest first. Raises RetryLater
        while the journal can't be read."""
        query = _AFTER_OR_OF if also else _AFTER
        values = {"last": last, **({"also": tuple(also)} if also else {})}
        with asking(self._engine) as connection:
            return [_order(row) for row in connection.execute(query, values).mappings()]

    def last(self) -> int:
        """The highest number that was given out; 0: none. Raises RetryLater."""
        with asking(self._engine) as connection:
            return int(connection.scalar(sa.select(sa.func.max(orders.c.id))) or 0)

    def place(
        self, at: float, kind: str, job: JobId | None, by: str, fields: Mapping[str, Any] = _NONE
    ) -> int:
        """Write an order, and its number; the agent takes it up within a second, or when it
        starts. Raises RetryLater while the journal can't be written."""
        row = {"at": at, "kind": kind, "job": job, "by": by}
        last = sa.select(sa.func.max(timeline.c.id))
        with changing(self._engine, "the order can't be placed") as connection:
            row["fields"] = {**fields, _AFTER_LINE: connection.scalar(last) or 0}
            return int(connection.scalar(sa.insert(orders).values(row).returning(orders.c.id)) or 0)


def _order(row: sa.RowMapping) -> OrderRecord:
    fields = dict(row["fields"] or {})
    after = fields.pop(_AFTER_LINE, None)
    return OrderRecord(**{**row, "fields": fields}, after_line=after)
