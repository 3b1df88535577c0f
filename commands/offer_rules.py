"""What price rules would do now: the same judgement as the agent's, shown before it acts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.apply.pricing import move_of
from agent.config.model import Offer
from agent.decide.listings import Spent
from agent.decide.pricing import DAY_SECONDS, Decision, Move, PriceView, decide_price
from agent.journal.lines import OFFER_LISTED, OFFER_PRICED
from agent.journal.reading import Reader
from agent.market.model import BlockRef, Price
from agent.markets.token import Token
from agent.wiring.costs import pricing_rules_of, rule_of
from agent.wiring.markets import abilities_of
from commands import dialect
from commands.amounts import show_price
from commands.context import Desk
from commands.costs import Cost, cost_text, costs_of
from commands.journal import open_reader


@dataclass(frozen=True, slots=True)
class Shown:
    """One offer by rule: what the rule sees, and what it would do now."""

    offer: Offer
    view: PriceView
    cost: Cost
    decision: Decision
    money: Token

    def lines(self) -> Iterator[str]:
        """For a person."""
        view, decision = self.view, self.decision
        yield f"{self.offer.type}  {self.offer.rule_text}"
        yield f"  cost   {cost_text(self.cost, self.money)}"
        yield f"  floor  {self._text(view.floor)}; cheapest other: {self._other()}"
        yield f"  asked  {self._text(view.asked)}; the rule points at {self._text(view.goal)}"
        to = f"{self._text(decision.price)}: " if decision.price is not None else ""
        yield f"  now    {to}{decision.why}"

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        view = self.view
        prices = {
            "cost": self.cost.price, "floor": view.floor, "cheapest_other": view.other,
            "asked": view.asked, "goal": view.goal, "next": self.decision.price,
        }  # fmt: skip
        return {
            "type": self.offer.type,
            "rule": self.offer.rule_text,
            "cost_source": self.cost.source,
            "why": self.decision.why,
            **{name: dialect.price(price, self.money) for name, price in prices.items()},
        }

    def _text(self, price: Price | None) -> str:
        return "not known" if price is None else show_price(price, self.money)

    def _other(self) -> str:
        if not self.offer.undercut:
            return "not looked at (no undercut)"
        return "nobody" if self.view.other is None else self._text(self.view.other)


async def look_at_rules(
    desk: Desk, offers: Sequence[Offer], money: Token, at: BlockRef
) -> list[Shown]:
    """What each of these would do now. Reads chain, AWS's prices and the journal."""
    costs = await costs_of(desk, [offer.type for offer in offers], money)
    with open_reader(desk.config) as reader:
        moves, spent = _moves(reader), _spent(reader, desk.clock.now())
    return [
        await _shown(desk, offer, costs[offer.type], moves.get(offer.type, []), spent, money, at)
        for offer in offers
    ]


async def _shown(
    desk: Desk,
    offer: Offer,
    cost: Cost,
    moves: Sequence[Move],
    spent: Spent,
    money: Token,
    at: BlockRef,
) -> Shown:
    listed, other = None, None
    if abilities_of(desk.config).lists_on_chain:
        listed = await desk.market.offer(desk.provider, offer.type, at)
        if offer.undercut:
            other = await desk.market.rival(desk.provider, offer.type, at)
    elif moves:
        listed = moves[-1].to
    rule, bounds = rule_of(offer, money.decimals), pricing_rules_of(desk.config)
    view = PriceView(rule, listed, cost.price, other, tuple(moves))
    decision = decide_price(view, desk.clock.now(), bounds, spent)
    return Shown(offer, view, cost, decision, money)


def _moves(reader: Reader) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for event in reader.own(OFFER_PRICED):
        move = move_of(event)
        if move is not None:
            found.setdefault(str(event.fields.get("type")), []).append(move)
    return found


def _spent(reader: Reader, now: float) -> Spent:
    """Gas of the changes that rules made within a day."""
    fees = [
        int(event.fields.get("fee_wei", 0))
        for event in reader.own(OFFER_LISTED)
        if event.fields.get("by_rule") and now - event.at < DAY_SECONDS
    ]
    return Spent(sum(fees), max(fees, default=0))
