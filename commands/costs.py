"""What an instance type costs its provider an hour: the configuration says, else the list price.

AWS asks dollars and jobs pay in the market's token: where that is a dollar token, one is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.market.model import InstanceType, Price
from agent.wiring.adapters import price_of
from cloud.model import Region
from commands.amounts import show_price
from commands.context import Desk
from faults import Fault

if TYPE_CHECKING:
    from agent.markets.token import Token
    from cloud.aws import Aws

CONFIGURED = "configuration"
LIST_PRICE = "AWS list price"


@dataclass(frozen=True, slots=True)
class Cost:
    """`price` None: unknown. `source`: CONFIGURED, LIST_PRICE, or why it is unknown."""

    price: Price | None
    source: str

    def text(self, money: Token) -> str:
        """For a person: the rate and who says so."""
        if self.price is None:
            return f"unknown: {self.source}"
        return f"{show_price(self.price, money)} ({self.source})"


async def costs_of(desk: Desk, kinds: Iterable[str], money: Token) -> dict[str, Cost]:
    """The cost of each type; AWS is asked only for those that have none in the configuration."""
    told = {offer.type: offer.cost for offer in desk.config.offers if offer.cost}
    found, aws = {}, None
    try:
        for kind in sorted(set(kinds)):
            if (rate := told.get(kind)) is not None:
                found[kind] = Cost(price_of(rate, money.decimals), CONFIGURED)
            elif "USD" not in money.symbol.upper():
                why = f"AWS asks dollars, jobs pay {money.symbol}; set cost in [[offers]]"
                found[kind] = Cost(None, why)
            else:
                aws = aws or desk.open_cloud()
                found[kind] = await _listed(aws, kind, money)
    finally:
        if aws is not None:
            aws.close()
    return found


async def _listed(aws: Aws, kind: str, money: Token) -> Cost:
    try:
        type_ = InstanceType.parse(kind)
        usd = await aws.prices.hourly_usd(Region(type_.region), type_.ec2_type)
        return Cost(Price.parse(f"{usd:f}/h", money.decimals), LIST_PRICE)
    except Fault as fault:
        return Cost(None, shortened(str(fault)))


def shortened(text: str, most: int = 160) -> str:
    """On one line, without the page that a broken gateway answers with."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
