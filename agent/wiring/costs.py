"""What an instance type costs its provider an hour: the configuration says, else the list price.

AWS asks dollars and jobs pay in the market's token: where that is a dollar token, one is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from agent.config import Config
from agent.market.model import InstanceType, Price
from agent.wiring.adapters import price_of
from cloud.model import Region
from faults import Fault

CONFIGURED = "configuration"
LIST_PRICE = "AWS list price"


class ListPrices(Protocol):
    """What AWS asks whoever has no discount."""

    async def hourly_usd(self, region: Region, instance_type: str) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """`price` None: unknown. `source`: CONFIGURED, LIST_PRICE, or why it is unknown."""

    price: Price | None
    source: str


def told_costs(config: Config, decimals: int) -> Mapping[str, Cost]:
    """Those that the configuration says."""
    return {
        offer.type: Cost(price_of(offer.cost, decimals), CONFIGURED)
        for offer in config.offers
        if offer.cost
    }


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
