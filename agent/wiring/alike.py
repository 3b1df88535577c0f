"""What this host would do if it led, as a digest that others compare with theirs.

An offer that a person orders changes the file of the host where the command ran, and through the
journal what every host asks that was started before: their files differ, and they are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from agent.aside import Aside
from agent.config.model import Config, Offer
from agent.config.units import read_percent, read_rate_or_rule
from agent.journal.orders import OrderKind, OrderRecord, Orders
from agent.ports import Clock
from agent.wiring.journal import OpenJournal, config_digest
from faults import RetryLater

log = structlog.get_logger()

LOOK_SECONDS = 5.0


class Configured(Protocol):
    """The lease's keeper: it tells the others (`ServerLease`)."""

    def configured(self, digest: str) -> None: ...


class Alike:
    """`after` is the last order before this process: an older one is in its file, or was not for
    it. `runs` is the configuration as it was loaded last."""

    def __init__(
        self, kept: Configured, runs: Callable[[], Config], orders: Orders, aside: Aside, after: int
    ) -> None:
        self._kept, self._runs = kept, runs
        self._orders, self._aside = orders, aside
        self._after = self._seen = after

    async def follow(self, clock: Clock) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except RetryLater as later:
                log.info("alike.later", error=str(later))
            await clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Tell what would be done by now. Raises RetryLater."""
        found = await self._aside(lambda: self._orders.after(self._after))
        self._seen = max([self._seen, *(order.id for order in found)])
        self._kept.configured(config_digest(as_ordered(self._runs(), found)))

    def reloaded(self) -> None:
        """The file counts from here on, as it does for prices."""
        self._after = self._seen
        self._kept.configured(config_digest(self._runs()))


def alike_of(opened: OpenJournal, runs: Callable[[], Config]) -> Alike | None:
    """Of a host that shares its journal; None: it is alone."""
    if opened.kept is None:
        return None
    orders = Orders(opened.reader.engine)
    return Alike(opened.kept, runs, orders, opened.aside, opened.last_order)


def as_ordered(config: Config, orders: Iterable[OrderRecord]) -> Config:
    """The configuration with its offers as these orders changed them; what an order of another
    version does not say in words of a file stays as it was."""
    offers = {one.type: one for one in config.offers}
    for order in orders:
        name = str(order.fields.get("type"))
        if order.kind == OrderKind.REMOVE_OFFER:
            offers.pop(name, None)
        elif order.kind == OrderKind.OFFER and order.fields.get("said"):
            with suppress(ValueError):
                offers[name] = _said(name, order, offers.get(name))
    return replace(config, offers=tuple(offers.values()))


def _said(name: str, order: OrderRecord, known: Offer | None) -> Offer:
    floor = str(order.fields.get("floor") or "")
    return Offer(
        name,
        read_rate_or_rule(str(order.fields["said"])),
        known.cost if known else None,
        read_rate_or_rule(floor) if floor else None,
        read_percent(str(order.fields.get("undercut") or "0%")),
    )
