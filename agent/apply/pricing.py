"""Has prices follow their rules: looks at cost and market, asks `decide_price`, tells, remembers.

What a rule wants becomes what the agent asks (`Offering.prices`); the listing follows as for any
price. Moves and what they cost are in the journal, so that a restart grants no second day's move.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from agent.apply.listings import Offering
from agent.decide.listings import Spent
from agent.decide.pricing import (
    DAY_SECONDS,
    Decision,
    Move,
    PriceRule,
    PriceView,
    PricingRules,
    decide_price,
)
from agent.journal.lines import OFFER_PRICED, Event
from agent.journal.reading import Put, Reader
from agent.market.model import BlockRef, Price
from agent.ports import Clock, Market
from faults import RetryLater, UsageFault

log = structlog.get_logger()


@dataclass(slots=True)
class Tag:
    """What is remembered of one type: its moves, since when its rule points up, the last word."""

    moves: list[Move] = field(default_factory=list)
    dearer_since: float | None = None
    said: str = ""


class Pricing:
    """Prices by rule of one provider. `cost_of` answers from memory; `rules` are by type."""

    def __init__(
        self,
        market: Market,
        clock: Clock,
        tell: Callable[[Event], None],
        offering: Offering,
        cost_of: Callable[[str], Price | None],
        rules: Mapping[str, PriceRule] | None = None,
        bounds: PricingRules | None = None,
    ) -> None:
        self._market, self._clock, self._tell = market, clock, tell
        self._offering, self._cost_of = offering, cost_of
        self.rules = dict(rules or {})
        self.bounds = bounds or PricingRules()
        offering.ruled = set(self.rules)
        self._tags: dict[str, Tag] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.read: Callable[[Mapping[str, Any]], PriceRule | None] = lambda fields: None
        """The rule in an order's fields; None: it has a price alone."""
        self.listed: Callable[[str, BlockRef], Awaitable[Price | None]] = market.offer
        """Where a rule goes on from after a start: what is listed, as two endpoints tell alike
        where there are two. Raises RetryLater."""

    def said(self, name: str) -> str:
        """What the type's rule does now, in words; empty: it has none."""
        return self._tag(name).said if name in self.rules else ""

    def take(self, rules: Mapping[str, PriceRule], bounds: PricingRules) -> Mapping[str, Price]:
        """Other rules. Returns what is asked for their types until they say otherwise."""
        self.rules, self.bounds = dict(rules), bounds
        self._offering.ruled = set(rules)
        self._offering.desk.reasons.clear()
        return {name: price for name, price in self._offering.prices.items() if name in rules}

    def ordered(self, name: str, rule: PriceRule | None) -> None:
        """A person said a price, or that there is none, and by which rule it goes on from there;
        None: by none."""
        self.rules.pop(name, None)
        self._offering.ruled.discard(name)
        self._offering.desk.reasons.pop(name, None)
        if rule is not None:
            self.rules[name] = rule
            self._offering.ruled.add(name)

    def restore(self, reader: Reader) -> Put:
        """What the journal knows: the last price of each rule, and how far it moved lately."""
        return partial(self._put, reader.own(OFFER_PRICED))

    def _put(self, told: Sequence[Event]) -> None:
        self._tags.clear()
        for event in told:
            name, move = str(event.fields.get("type")), move_of(event)
            if move is not None:
                self._tag(name).moves.append(move)
                self._offering.desk.reasons |= {name: event.text} if name in self.rules else {}
        for name in self.rules.keys() & self._offering.prices.keys():
            moves = self._tag(name).moves
            if moves and self._clock.now() - moves[-1].at < DAY_SECONDS:
                self._ask(name, moves[-1].to)

    async def look(self) -> None:
        """Each rule once. Raises RetryLater: the chain does not answer."""
        if not self.rules:
            return
        at = (await self._market.blocks()).head
        for name, rule in list(self.rules.items()):
            try:
                view = await self._view(name, rule, at)
            except RetryLater as later:
                self._wait(name, f"waits: {later}")
                continue
            now = self._clock.now()
            self._follow(name, view, decide_price(view, now, self.bounds, self._spent(now)))

    def _wait(self, name: str, why: str) -> None:
        """One that waits for an answer holds up no other and no listing."""
        if self._tag(name).said != why:
            log.warning("offer.rule_waits", type=name, why=why)
        self._tag(name).said = why

    def _spent(self, now: float) -> Spent:
        """By rules within a day, with what is decided and not listed yet."""
        desk, spent = self._offering.desk, self._offering.spent_by_rules(now)
        asked = self._offering.prices
        waiting = sum(
            name in desk.listed and desk.listed[name] != asked.get(name) for name in desk.reasons
        )
        return replace(spent, all_wei=spent.all_wei + waiting * spent.dearest_wei)

    async def _view(self, name: str, rule: PriceRule, at: BlockRef) -> PriceView:
        other = await self._market.rival(name, at) if rule.undercut else None
        tag, asked = self._tag(name), await self._asked(name, at)
        view = PriceView(rule, asked, self._cost_of(name), other, tuple(tag.moves))
        above = asked is not None and view.goal is not None and view.goal > asked
        since = tag.dearer_since if tag.dearer_since is not None else self._clock.now()
        tag.dearer_since = since if above else None
        return replace(view, dearer_since=tag.dearer_since)

    async def _asked(self, name: str, at: BlockRef) -> Price | None:
        """What the agent asks. After a start it is what is listed, unless that is what the last
        move is still on its way from."""
        asked = self._offering.prices.get(name)
        if asked is not None:
            return asked
        listed = await self.listed(name, at)
        last = self._tag(name).moves[-1:]
        return last[0].to if last and listed in (last[0].was, last[0].to) else listed

    def _follow(self, name: str, view: PriceView, decision: Decision) -> None:
        tag, now, to = self._tag(name), self._clock.now(), decision.price
        tag.moves = [move for move in tag.moves if now - move.at < DAY_SECONDS] or tag.moves[-1:]
        tag.said = decision.why
        if to is None:
            if view.asked is not None and self._offering.prices.get(name) != view.asked:
                self._ask(name, view.asked)
            return
        why = f"by rule: {decision.why}"
        self._offering.desk.reasons[name] = why
        tag.moves.append(Move(now, view.asked or to, to))
        tag.dearer_since = None
        self._ask(name, to)
        fields = {
            "type": name, "was": _raw(view.asked), "to": str(to.raw), "goal": _raw(view.goal),
            "cost": _raw(view.cost), "other": _raw(view.other), "rule": view.rule.text,
        }  # fmt: skip
        log.info(OFFER_PRICED, why=why, **fields)
        self._tell(Event(now, OFFER_PRICED, text=why, fields=fields))

    def _ask(self, name: str, price: Price) -> None:
        self._offering.prices = {**self._offering.prices, name: price}
        self.on_change()

    def _tag(self, name: str) -> Tag:
        return self._tags.setdefault(name, Tag())


def move_of(event: Event) -> Move | None:
    """What a line says; None: it can't be read. A first price is a move from itself."""
    try:
        to = Price(int(event.fields["to"]))
        return Move(event.at, Price(int(event.fields["was"] or to.raw)), to)
    except (KeyError, TypeError, ValueError, UsageFault):
        return None


def _raw(price: Price | None) -> str:
    return "" if price is None else str(price.raw)
