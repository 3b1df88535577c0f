"""What this provider's rate cards asked over time, where offers do not stand on the chain.

Users read a card, sign, and are mined some minutes later: a job is judged by the least that was
asked from a while before it was matched, whatever the file says by now. Each change is journaled,
so that a restart judges the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from agent.journal.lines import CARD, Event
from agent.journal.reading import Put, Reader
from agent.market.model import Price
from faults import UsageFault

READING_SECONDS = 600.0  # from a card that was read to the job that is mined, and clocks apart
KEPT = 200  # changes of one type that are remembered: more in so short a time are no offers


@dataclass(slots=True)
class Cards:
    """The changes of each type, oldest first: since when it asked what; None: nothing, any more."""

    changes: dict[str, list[tuple[float, Price | None]]] = field(default_factory=dict)

    def restore(self, reader: Reader) -> Put:
        """What earlier processes showed. Raises RetryLater while the journal is held."""
        return partial(self._put, reader.own(CARD))

    def _put(self, told: Sequence[Event]) -> None:
        self.changes.clear()
        for event in told:
            try:
                raw = event.fields["price"]
                self._note(str(event.fields["type"]), event.at, Price(int(raw)) if raw else None)
            except (KeyError, TypeError, ValueError, UsageFault):
                continue  # an older version, or nobody's line

    def show(self, prices: Mapping[str, Price], now: float, tell: Callable[[Event], None]) -> None:
        """These are asked from `now` on; what differs from before is told."""
        for kind in sorted({*prices, *self.changes}):
            price = prices.get(kind)
            known = self.changes.get(kind)
            if known is not None and known[-1][1] == price:
                continue
            self._note(kind, now, price)
            fields = {"type": kind, "price": "" if price is None else str(price.raw)}
            text = "is not offered any more" if price is None else "asks another rate"
            tell(Event(now, CARD, text=f"the card of {kind} {text}", fields=fields))

    def asked(self, kind: str, matched_at: float) -> Price | None:
        """The least that a user could have read for a job matched then; None: nothing is known."""
        found: list[Price] = []
        changes = self.changes.get(kind, [])
        ends = [*(at for at, _ in changes[1:]), math.inf]
        for (since, price), until in zip(changes, ends, strict=False):  # no change, no end
            if price is not None and since <= matched_at and until >= matched_at - READING_SECONDS:
                found.append(price)
        return min(found, default=None)

    def _note(self, kind: str, at: float, price: Price | None) -> None:
        known = self.changes.setdefault(kind, [])
        known.append((at, price))
        del known[:-KEPT]
