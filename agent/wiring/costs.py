"""What the configuration says of costs and of prices by rule, and the parts that follow it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from agent.apply.listings import Offering
from agent.apply.pricing import Pricing
from agent.config import Config
from agent.config.model import Offer
from agent.config.units import OfCost, Rate, read_percent, read_rate_or_rule
from agent.decide.pricing import Amount, PriceRule, PriceView, PricingRules
from agent.journal.writing import Journal
from agent.load.costs import CONFIGURED, Cost, CostBook
from agent.market.model import Price
from agent.market.terms import Abilities
from agent.ports import Clock, Market, Witness
from agent.wiring.adapters import price_of
from faults import RetryLater

COST = OfCost(Decimal(1))  # the floor of whoever names none: no job is to lose


def told_costs(config: Config, decimals: int) -> Mapping[str, Cost]:
    """Those that the configuration says."""
    return {
        offer.type: Cost(price_of(offer.cost, decimals), CONFIGURED)
        for offer in config.offers
        if offer.cost
    }


def price_rules(config: Config, decimals: int) -> Mapping[str, PriceRule]:
    """Of the offers whose price is by rule."""
    return {offer.type: rule_of(offer, decimals) for offer in config.offers if offer.by_rule}


def pricing_rules_of(config: Config) -> PricingRules:
    """What holds for all of them."""
    listing = config.listing
    return PricingRules(
        day_share=listing.price_move,
        least_share=listing.price_least,
        raise_after_seconds=listing.price_raise_after_seconds,
        day_wei=min(listing.price_gas_wei, listing.per_day_wei),
    )


def rule_of(offer: Offer, decimals: int) -> PriceRule:
    """An offer's rule, in the market's numbers."""
    floor = offer.floor if offer.floor is not None else COST
    return PriceRule(
        offer.rule_text, _amount(offer.price, decimals), _amount(floor, decimals), offer.undercut
    )


def _amount(said: Rate | OfCost, decimals: int) -> Amount:
    if isinstance(said, OfCost):
        return Amount(times=Fraction(said.times))
    return Amount(fixed=price_of(said, decimals))


async def starting_prices(
    rules: Mapping[str, PriceRule], costs: CostBook, abilities: Abilities
) -> Mapping[str, Price]:
    """What rules ask at a start. Where offers stand on the chain, what is listed is it, and nothing
    is needed; where they are this provider's own word, no job is judged before there is a price.

    Raises RetryLater: a cost is not known.
    """
    if abilities.lists_on_chain or not rules:
        return {}
    await costs.look(rules)
    found = {}
    for name, rule in rules.items():
        cost = costs.of(name)
        price = PriceView(rule, None, cost.price if cost else None).goal
        if price is None:
            why = cost.source if cost else "not known"
            raise RetryLater(f"{name} is priced {rule.text}, and its cost is not known: {why}")
        found[name] = price
    return found


def pricing_of(
    config: Config,
    decimals: int,
    market: Market,
    offering: Offering,
    clock: Clock,
    journal: Journal,
    costs: CostBook,
    witness: Witness | None,
) -> Pricing:
    """Prices by the configuration's rules; without a second endpoint `witness` is None."""

    def cost_of(name: str) -> Price | None:
        cost = costs.of(name)
        return cost.price if cost else None

    rules, bounds = price_rules(config, decimals), pricing_rules_of(config)
    pricing = Pricing(market, clock, journal.event, offering, cost_of, rules, bounds)
    pricing.read = partial(ordered_rule, decimals=decimals)
    pricing.listed = witness.offer if witness else market.offer
    return pricing


def ordered_rule(fields: Mapping[str, Any], decimals: int) -> PriceRule | None:
    """The rule that an order names, in the file's words; None: it names a price alone, or what an
    older version can't read."""
    if "rule" not in fields:
        return None
    try:
        floor = read_rate_or_rule(str(fields["floor"])) if fields.get("floor") else None
        price = read_rate_or_rule(str(fields["rule"]))
        undercut = read_percent(str(fields.get("undercut") or "0%"))
    except ValueError:
        return None
    return rule_of(Offer(str(fields["type"]), price, None, floor, undercut), decimals)
