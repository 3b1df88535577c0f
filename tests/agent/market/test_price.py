"""Prices are exact: text to the contract's number and back."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.price import Price
from faults import UsageFault

pytestmark = pytest.mark.unit

prices = st.integers(1, Price.MAX_RAW).map(Price)
decimals = st.integers(0, 18)
units = st.sampled_from(["s", "min", "h", "d", "mo", "hour", "month"])


def test_parse__usdc_an_hour__is_the_contract_number() -> None:
    assert Price.parse("0.17/h", 6) == Price(170_000 * 10**12 // 3600)
    assert Price.parse("1/s", 6).raw == 10**18
    assert Price.parse(" 124.1 / mo ", 6) == Price.parse("0.17/h", 6)


@pytest.mark.parametrize("rate", ["0.17/h", "1/s", "124.1/mo", "0.0001/min", "4.08/d", "2048/h"])
def test_text__of_a_parsed_rate__is_that_rate(rate: str) -> None:
    assert Price.parse(rate, 6).text(6, rate.split("/")[1]) == rate


@given(prices, decimals, units)
def test_text__any_price__reads_back_the_same(price: Price, places: int, unit: str) -> None:
    text = price.text(places, unit)
    if len(text) <= 40:
        assert Price.parse(text, places) == price


@given(st.decimals(0, 10**6, places=6), decimals, units)
def test_parse__any_rate__rounds_down_by_less_than_one(
    amount: object, places: int, unit: str
) -> None:
    try:
        price = Price.parse(f"{amount}/{unit}", places)
    except UsageFault:
        return
    exact = Fraction(str(amount))
    step = Price(1).per(unit, places)
    assert price.per(unit, places) <= exact < price.per(unit, places) + step


@pytest.mark.parametrize(
    "text",
    ["", "0.17", "0.17/", "/h", "-1/h", "0/h", "1e3/h", "1,5/h", "1/fortnight", "nan/h", "1/m",
     "1/h/h", "0.000000000000000000000001/mo", "9" * 60 + "/s", "9" * 38 + "/s", ".5/h"],
)  # fmt: skip
def test_parse__not_a_rate__is_a_usage_fault(text: str) -> None:
    with pytest.raises(UsageFault):
        Price.parse(text, 18)


@pytest.mark.parametrize("raw", [0, 1, 2**128, 2**256 - 1])
def test_price__whatever_a_contract_holds__is_a_price(raw: int) -> None:
    assert Price(raw).raw == raw


@pytest.mark.parametrize("raw", [-1, 2**256])
def test_price__what_no_contract_holds__is_none(raw: int) -> None:
    with pytest.raises(UsageFault):
        Price(raw)
