"""What an instance type costs its provider an hour: the configuration says, else the list price.

AWS asks dollars and jobs pay in the market's token: where that is a dollar token, one is one. What
a type cost is journaled when it changes, so that a report knows the cost of each hour as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Protocol

from agent.journal.lines import COSTED, Event
from agent.journal.reading import Put, Reader
from agent.market.model import InstanceType, Price
from agent.markets.token import Token
from agent.ports import Clock
from cloud.model import Region
from faults import Fault, UsageFault

CONFIGURED = "configuration"
LIST_PRICE = "AWS list price"
EVERY_SECONDS = 3600.0  # list prices change a few times a year
AGAIN_SECONDS = 300.0  # where AWS did not tell one


class ListPrices(Protocol):
    """What AWS asks whoever has no discount."""

    async def hourly_usd(self, region: Region, instance_type: str) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """`price` None: unknown. `source`: CONFIGURED, LIST_PRICE, or why it is unknown."""

    price: Price | None
    source: str


def no_dollars(symbol: str) -> Cost | None:
    """Why AWS's prices say nothing here, when jobs pay in something else than dollars."""
    if "USD" in symbol.upper():
        return None
    return Cost(None, f"AWS asks dollars, jobs pay {symbol}; set cost in [[offers]]")


async def listed_cost(prices: ListPrices, kind: str, decimals: int) -> Cost:
    """AWS's list price with a public address."""
    try:
        type_ = InstanceType.parse(kind)
        usd = await prices.hourly_usd(Region(type_.region), type_.ec2_type)
        return Cost(Price.parse(f"{usd:f}/h", decimals), LIST_PRICE)
    except Fault as fault:
        return Cost(None, shortened(str(fault)))


def shortened(text: str, most: int = 160) -> str:
    """On one line, without the page that a broken gateway answers with."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


class CostBook:
    """The costs of now, from memory; `look` asks anew, `told` is what the configuration says.

    While AWS does not tell, the last known list price holds.
    """

    def __init__(
        self,
        prices: ListPrices,
        money: Token,
        clock: Clock,
        tell: Callable[[Event], None],
        told: Mapping[str, Cost] | None = None,
    ) -> None:
        self._prices, self._money, self._clock, self._tell = prices, money, clock, tell
        self.told: Mapping[str, Cost] = told or {}
        self._listed: dict[str, Cost] = {}
        self._asked_at = float("-inf")
        self._written: dict[str, Cost] = {}

    def restore(self, reader: Reader) -> Put:
        """What the journal knows of the last costs is not written again."""
        return partial(self._put, last_costs(reader.own(COSTED)))

    def _put(self, last: Mapping[str, Cost]) -> None:
        for kind, event in last.items():
            self._written[kind] = event
            if event.source == LIST_PRICE:
                self._listed.setdefault(kind, event)

    def of(self, kind: str) -> Cost | None:
        """What the type costs; None: it was never asked for."""
        return self.told.get(kind) or self._listed.get(kind)

    @property
    def all(self) -> Mapping[str, Cost]:
        """By type."""
        return {**self._listed, **self.told}

    async def look(self, kinds: Iterable[str]) -> None:
        """AWS is asked for what the configuration does not say: once an hour, and for new types."""
        wanted = set(kinds) - set(self.told)
        if no_dollars(self._money.symbol) is None and self._due(wanted):
            self._asked_at = self._clock.now()
            for kind in sorted(wanted):
                found = await listed_cost(self._prices, kind, self._money.decimals)
                if found.price is not None or kind not in self._listed:
                    self._listed[kind] = found

    def _due(self, kinds: Collection[str]) -> bool:
        untold = any((cost := self._listed.get(kind)) and cost.price is None for kind in kinds)
        pause = AGAIN_SECONDS if untold else EVERY_SECONDS
        new = any(kind not in self._listed for kind in kinds)
        return new or self._clock.now() - self._asked_at > pause

    def write(self, kinds: Iterable[str]) -> None:
        """Have the journal know of what changed. Of whoever leads alone."""
        for kind in sorted(set(kinds)):
            cost = self.of(kind)
            if cost is None or cost.price is None or cost == self._written.get(kind):
                continue
            self._written[kind] = cost
            fields = {"type": kind, "price": str(cost.price.raw), "source": cost.source}
            text = f"{kind} costs {cost.price.text(self._money.decimals)} ({cost.source})"
            self._tell(Event(self._clock.now(), COSTED, text=text, fields=fields))


def last_costs(events: Iterable[Event]) -> dict[str, Cost]:
    """The newest of each type, of lines in their order; lines that say nothing are left out."""
    found = {}
    for event in events:
        cost = cost_of(event)
        if cost is not None:
            found[str(event.fields.get("type"))] = cost
    return found


def cost_of(event: Event) -> Cost | None:
    """What a line says; None: it can't be read."""
    try:
        return Cost(Price(int(event.fields["price"])), str(event.fields["source"]))
    except (KeyError, TypeError, ValueError, UsageFault):
        return None
