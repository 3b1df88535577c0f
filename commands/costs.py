"""What instance types cost, for commands: `agent.load.costs` at the desk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agent.load.costs import CONFIGURED, LIST_PRICE, Cost, listed_cost, no_dollars, shortened
from agent.wiring.costs import told_costs
from commands.amounts import show_price
from commands.context import Desk

if TYPE_CHECKING:
    from agent.markets.token import Token

__all__ = ["CONFIGURED", "LIST_PRICE", "Cost", "cost_text", "costs_of", "shortened"]


def cost_text(cost: Cost, money: Token) -> str:
    """For a person: the rate and who says so."""
    if cost.price is None:
        return f"unknown: {cost.source}"
    return f"{show_price(cost.price, money)} ({cost.source})"


async def costs_of(desk: Desk, kinds: Iterable[str], money: Token) -> dict[str, Cost]:
    """The cost of each type; AWS is asked only for those that have none in the configuration."""
    told, odd = told_costs(desk.config, money.decimals), no_dollars(money.symbol)
    found, aws = {}, None
    try:
        for kind in sorted(set(kinds)):
            if kind in told:
                found[kind] = told[kind]
            elif odd:
                found[kind] = odd
            else:
                aws = aws or desk.open_cloud()
                found[kind] = await listed_cost(aws.prices, kind, money.decimals)
    finally:
        if aws is not None:
            aws.close()
    return found
