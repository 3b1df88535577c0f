"""Prices by rule: what no rule ever does, whatever costs, markets and clocks do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.decide.listings import Spent
from agent.decide.pricing import (
    DAY_SECONDS,
    Amount,
    Decision,
    Move,
    PriceRule,
    PriceView,
    PricingRules,
    decide_price,
)
from agent.market.model import Price

pytestmark = pytest.mark.unit

HOUR = 3600.0
RULE = PriceRule(
    'price = "cost * 1.15"', Amount(times=Fraction("1.15")), Amount(times=Fraction(1)),
    Fraction(1, 100),
)  # fmt: skip
BOUNDS = PricingRules()
COST = Price(100_000)
FREE = Spent()

prices = st.integers(1, 10**9).map(Price)
shares = st.fractions(Fraction(1, 1000), Fraction(1, 2), max_denominator=1000)
amounts = st.one_of(
    st.builds(Amount, fixed=prices),
    st.builds(Amount, times=st.fractions(Fraction(1, 2), 5, max_denominator=100)),
)
rules = st.builds(
    PriceRule, st.just("a rule"), amounts, amounts, st.one_of(st.just(Fraction(0)), shares)
)
bounds = st.builds(PricingRules, shares, shares, st.floats(0, DAY_SECONDS), st.integers(0, 10))


def view(asked: int | None, other: int | None = None, **more: object) -> PriceView:
    seen = PriceView(
        RULE,
        None if asked is None else Price(asked),
        COST,
        None if other is None else Price(other),
    )
    return replace(seen, **more)  # type: ignore[arg-type] # a test's own words


class Shop:
    """One provider that goes by a rule for days, and what it did."""

    def __init__(self, rule: PriceRule, limits: PricingRules, asked: Price | None) -> None:
        self.rule, self.limits, self.asked = rule, limits, asked
        self.moves: list[Move] = []
        self.dearer_since: float | None = None

    def turn(self, now: float, cost: Price | None, other: Price | None, fee: int = 0) -> Decision:
        seen = PriceView(self.rule, self.asked, cost, other, tuple(self.moves), self.dearer_since)
        goal = seen.goal
        above = self.asked is not None and goal is not None and goal > self.asked
        self.dearer_since = (self.dearer_since or now) if above else None
        seen = replace(seen, dearer_since=self.dearer_since)
        paid = [fee for move in self.moves if now - move.at < DAY_SECONDS]
        done = decide_price(seen, now, self.limits, Spent(sum(paid), max(paid, default=0)))
        if done.price is not None:
            if self.asked is not None:
                self.moves.append(Move(now, self.asked, done.price))
            self.asked = done.price
        return done


weather = st.lists(
    st.tuples(st.floats(1, DAY_SECONDS), prices, st.one_of(st.none(), prices)),
    min_size=1, max_size=25,
)  # fmt: skip


@given(rules, bounds, st.one_of(st.none(), prices), weather)
def test_rule__whatever_happens__asks_nothing_below_its_floor(
    rule: PriceRule,
    limits: PricingRules,
    asked: Price | None,
    days: Sequence[tuple[float, Price, Price | None]],
) -> None:
    shop, now = Shop(rule, limits, asked), 0.0
    for pause, cost, other in days:
        now += pause
        floor = rule.floor.of(cost)
        assert floor is not None
        done = shop.turn(now, cost, other)
        assert done.why
        assert done.price is None or done.price >= floor


@given(rules, bounds, prices, weather)
def test_rule__whatever_happens__moves_no_further_in_a_day_but_to_its_floor(
    rule: PriceRule,
    limits: PricingRules,
    asked: Price,
    days: Sequence[tuple[float, Price, Price | None]],
) -> None:
    shop, now = Shop(rule, limits, asked), 0.0
    history = [(float("-inf"), float("inf"), asked)]  # from, until, price
    for pause, cost, other in days:
        now += pause
        done = shop.turn(now, cost, other)
        if done.price is None:
            continue
        since, _, last = history[-1]
        history[-1] = (since, now, last)
        if done.price == rule.floor.of(cost):
            history = [(now, float("inf"), done.price)]
            continue
        for _, until, was in history:
            if now - until < DAY_SECONDS:
                assert abs(done.price.raw - was.raw) <= was.raw * limits.day_share + 1
        history.append((now, float("inf"), done.price))


@given(rules, bounds, prices, weather, st.integers(1, 4))
def test_rule__whatever_happens__sends_no_more_than_its_gas(
    rule: PriceRule,
    limits: PricingRules,
    asked: Price,
    days: Sequence[tuple[float, Price, Price | None]],
    fee: int,
) -> None:
    shop, now = Shop(rule, limits, asked), 0.0
    for pause, cost, other in days:
        now += pause
        shop.turn(now, cost, other, fee)
        lately = [move for move in shop.moves if now - move.at < DAY_SECONDS]
        assert len(lately) * fee <= max(limits.day_wei, fee if limits.day_wei else 0)


starts = st.integers(70_000, 200_000).map(Price)
COPIES = PricingRules(least_share=Fraction(1, 200), day_wei=10**9)
TURNS, AT_WILL = 150, 25


@settings(max_examples=25)
@example([Price(200_000), Price(115_000)], Random(1), Fraction(1, 10), 3)  # long to the floor
@given(
    st.lists(starts, min_size=2, max_size=3),
    st.randoms(use_true_random=False),
    st.sampled_from([Fraction(1, 10), Fraction(1, 3)]),
    st.integers(0, 3),
)
def test_rule__against_copies_of_itself__comes_to_rest(
    asked: list[Price], chance: Random, day_share: Fraction, lag: int
) -> None:
    """In any order of turns, at once too, and with looks at others that are up to `lag` turns old:
    each turns round thrice at most, and twice more for each turn that its looks are old (the most
    of 40,000 plays); and then nobody moves any more."""
    limits = replace(COPIES, day_share=day_share)
    shops = [Shop(RULE, limits, price) for price in asked]
    book = [list(asked)]
    for turn in range(TURNS):
        seen = book[max(0, len(book) - 1 - lag)]
        for n, shop in enumerate(shops):
            if turn >= AT_WILL or chance.random() < 0.5:
                others = seen[:n] + seen[n + 1 :]
                shop.turn((turn + 1) * 5 * HOUR, COST, min(others))
        book.append([shop.asked or COST for shop in shops])
    for path in zip(*book, strict=True):
        steps = [after > before for before, after in pairwise(path) if after != before]
        assert sum(one != two for one, two in pairwise(steps)) <= 3 + 2 * lag, path
    assert book[-1] == book[-6], "still moving after days"


def test_rule__nobody_else__asks_the_top() -> None:
    assert decide_price(view(None), 0, BOUNDS, FREE) == Decision(
        Price(115_000), "the price by the rule"
    )


def test_rule__another_one_is_cheaper__goes_just_below_at_once() -> None:
    done = decide_price(view(115_000, other=112_000), 0, BOUNDS, FREE)
    assert done == Decision(Price(110_880), "below the cheapest other")


def test_rule__another_one_asks_less_than_the_cost__stays_at_the_floor() -> None:
    done = decide_price(view(105_000, other=10), 0, BOUNDS, FREE)
    assert done == Decision(COST, "the floor")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (view(115_000), "as the rule has it"),
        (view(115_000, cost=None), "not known"),
        (view(114_000), "too small"),
        (view(100_500), "when the reason has lasted"),
        (view(100_500, dearer_since=-HOUR), "when the reason has lasted"),
        (
            view(105_000, other=10, moves=(Move(-10, Price(116_000), Price(105_000)),)),
            "as far as it may within a day",
        ),
    ],
)
def test_rule__held_back__says_by_what(seen: PriceView, why: str) -> None:
    done = decide_price(seen, 0, BOUNDS, FREE)
    assert done.price is None
    assert why in done.why


def test_rule__the_reason_lasted__goes_up_by_a_days_move() -> None:
    seen = view(100_000, dearer_since=-7 * HOUR)
    assert decide_price(seen, 0, BOUNDS, FREE).price == Price(110_000)


def test_rule__gas_of_the_day_is_spent__changes_nothing() -> None:
    spent = Spent(BOUNDS.day_wei, 10)
    done = decide_price(view(115_000, other=112_000), 0, BOUNDS, spent)
    assert done == Decision(None, "waits: the gas for price changes of this day is spent")


def test_rule__a_person_set_a_price_in_between__begins_anew_from_it() -> None:
    moves = (Move(-10, Price(90_000), Price(99_000)),)
    seen = view(120_000, moves=moves)
    assert decide_price(seen, 0, BOUNDS, FREE).price == Price(115_000)


def test_undercut__off__looks_at_nobody() -> None:
    seen = view(115_000, other=10)
    seen = replace(seen, rule=replace(RULE, undercut=Fraction(0)))
    assert decide_price(seen, 0, BOUNDS, FREE).why == "as the rule has it"
