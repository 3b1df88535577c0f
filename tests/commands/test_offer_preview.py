"""What an offer would mean: rank by the contract's rule, and which prices look like slips."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import Address, Price
from agent.markets.token import Token
from commands.costs import CONFIGURED, Cost
from commands.offer_preview import Preview

pytestmark = pytest.mark.unit

USD = Token(Address("0x1111111111111111111111111111111111111111"), "tUSD", 6)
PRICES = st.integers(1, 10**18).map(Price)


def preview(
    new: Price, old: Price | None = None, others: tuple[Price, ...] = (), cost: Price | None = None
) -> Preview:
    rank = None if old is None else 1 + sum(other <= old for other in others)
    return Preview("r/t", USD, new, old, rank, sorted(others), Cost(cost, CONFIGURED), 3, "stake")


@given(PRICES, st.none() | PRICES, st.lists(PRICES, max_size=5))
def test_rank__any_book__is_behind_those_who_ask_as_much(
    new: Price, old: Price | None, others: list[Price]
) -> None:
    """The registry puts whoever comes to a price behind those already at it."""
    seen = preview(new, old, tuple(others))
    if old == new:
        assert seen.new_rank == seen.rank
    else:
        assert seen.new_rank == 1 + len([other for other in others if other <= new])


@given(PRICES, st.none() | PRICES, st.lists(PRICES, max_size=3), st.none() | PRICES)
def test_doubts__any_prices__are_losses_and_what_is_far_off_what_is_known(
    new: Price, old: Price | None, others: list[Price], cost: Price | None
) -> None:
    known = [price for price in (old, min(others, default=cost)) if price is not None]
    far = [each for each in known if not Fraction(1, 3) < Fraction(new.raw, each.raw) < 3]
    loses = cost is not None and new < cost
    assert len(list(preview(new, old, tuple(others), cost).doubts())) == len(far) + loses


def test_lines__a_price_raised__say_what_changes() -> None:
    new, old, other, dear, cost = (
        Price.parse(f"{text}/h", 6) for text in ("0.35", "0.17", "0.2", "0.4", "0.158")
    )
    seen = preview(new, old, (other, dear), cost)
    assert list(seen.lines()) == [
        "  price  0.17 tUSD/h -> 0.35 tUSD/h",
        "  rank   1 of 3 -> 2 of 3; cheapest other: 0.2 tUSD/h",
        "  cost   0.158 tUSD/h (configuration), leaves +0.1920 tUSD/h",
        "  room   3 more jobs (stake)",
    ]


def test_lines__refusals_can_cost_the_stake__say_which() -> None:
    seen = replace(preview(Price(10**12)), invites="each job refused by jobs.per_owner can cost 1")
    assert list(seen.lines())[-1] == "  slash  each job refused by jobs.per_owner can cost 1"
