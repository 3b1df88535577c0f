"""Rules of prices, from the file's words and an order's to the market's numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.model import Config, Offer
from agent.config.units import read_percent, read_rate_or_rule, show_percent
from agent.market.model import Price
from agent.wiring.costs import ordered_rule, pricing_rules_of, rule_of

pytestmark = pytest.mark.unit

TYPE = "us-east-1/c6a.xlarge"


def offer(price: str, floor: str = "", undercut: str = "0%") -> Offer:
    said = read_rate_or_rule(floor) if floor else None
    return Offer(TYPE, read_rate_or_rule(price), None, said, read_percent(undercut))


def test_rule__of_the_cost__has_the_cost_for_a_floor() -> None:
    rule = rule_of(offer("cost * 1.15"), 6)
    assert rule.top.of(Price(1000)) == Price(1150)
    assert rule.floor.of(Price(1000)) == Price(1000)
    assert rule.top.of(None) is None


def test_rule__a_number_that_undercuts__needs_no_cost_with_a_floor_of_its_own() -> None:
    rule = rule_of(offer("0.2/h", "0.1/h", "1%"), 6)
    assert rule.top.of(None) == Price.parse("0.2/h", 6)
    assert rule.floor.of(None) == Price.parse("0.1/h", 6)
    assert rule.undercut == Fraction(1, 100)


@pytest.mark.parametrize(
    ("price", "floor", "undercut"),
    [("cost * 1.15", "", ""), ("cost", "0.1/h", "2.5%"), ("0.2/h", "cost * 1.01", "1%")],
)
def test_rule__in_an_order__is_that_of_the_file(price: str, floor: str, undercut: str) -> None:
    fields = {"type": TYPE, "price": "1", "rule": price, "floor": floor, "undercut": undercut}
    assert ordered_rule(fields, 6) == rule_of(offer(price, floor, undercut or "0%"), 6)
    assert ordered_rule({"type": TYPE, "price": "1"}, 6) is None


def test_bounds__of_the_file__never_exceed_what_listings_may_cost() -> None:
    config = Config()
    assert pricing_rules_of(config).day_wei == 10**16
    assert pricing_rules_of(config).day_share == Fraction(1, 10)


@given(st.fractions(0, 1).map(lambda part: Fraction(round(part * 10**6), 10**6)))
def test_percent__shown__reads_back(share: Fraction) -> None:
    assert read_percent(show_percent(share)) == share


@pytest.mark.parametrize("text", ["1", "-1%", "101%", "1 %x", "%", "nan%"])
def test_percent__that_is_none__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a share such as '1%'"):
        read_percent(text)
