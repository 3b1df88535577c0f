"""Where launches were sent, for all hosts of one journal (`cloud.ec2.spots.Spots`).

A ClientToken makes the same call launch once, and the spot is part of the call: a host that takes
over must send an order where the one before it did. The first to note an order's spot decides.
"""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from agent.journal.engines import asking, changing
from agent.journal.hosts import Lease
from agent.journal.schema import spots
from cloud.ec2.spots import KEEP_SECONDS, Spot, order_key, spot_from, spot_to
from cloud.model import LaunchOrder
from faults import RetryLater

PRUNE_SECONDS = 3600.0  # between two looks for notes that are too old


class SharedSpots:
    """On the journal's server. Each write is fenced: only who leads decides where to launch."""

    waits = True

    def __init__(self, engine: sa.Engine, lease: Lease) -> None:
        self._engine = engine
        self._fence = lease.fence
        self._pruned_at = -math.inf

    def recall(self, order: LaunchOrder) -> Spot | None:
        """Where the order was sent last, unless that was refused definitely. Raises RetryLater."""
        query = sa.select(spots.c.spot).where(spots.c.order_key == order_key(order))
        with asking(self._engine) as connection:
            found: dict[str, Any] | None = connection.scalar(query)
        return None if found is None else spot_from(found)

    def note(self, order: LaunchOrder, spot: Spot, now: float) -> None:
        """The order is about to be sent to `spot`. Raises RetryLater: it was sent elsewhere by
        another host, or nothing can be noted just now; Fenced. Now and then it drops the notes
        that are older than KEEP_SECONDS."""
        row = {"order_key": order_key(order), "spot": spot_to(spot), "at": now}
        first = postgresql.insert(spots).values(row).on_conflict_do_nothing()
        prunes = now - self._pruned_at >= PRUNE_SECONDS
        what = "where the launch goes can't be noted"
        with changing(self._engine, what, self._fence) as connection:
            if prunes:
                connection.execute(sa.delete(spots).where(spots.c.at < now - KEEP_SECONDS))
            connection.execute(first)
        if prunes:
            self._pruned_at = now
        if self.recall(order) != spot:
            raise RetryLater("another host sent this launch elsewhere: it is looked at again")

    def refused(self, order: LaunchOrder, spot: Spot) -> None:
        """AWS refused the order at `spot`: nothing runs there. A note of another spot stays."""
        same = sa.and_(
            spots.c.order_key == order_key(order),
            sa.cast(spots.c.spot, postgresql.JSONB) == sa.cast(spot_to(spot), postgresql.JSONB),
        )
        what = "a refused launch can't be noted"
        with changing(self._engine, what, self._fence) as connection:
            connection.execute(sa.delete(spots).where(same))
