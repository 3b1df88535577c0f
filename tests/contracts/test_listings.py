"""The fine print of listings: places, prices, limits."""

from __future__ import annotations

import pytest

from devnet.simulation.protocol import MAX_PRICE, Event
from tests.contracts.market import (
    PROVIDERS,
    TYPE,
    UNIT,
    URL,
    USER,
    Market,
)

pytestmark = pytest.mark.integration


def test_listing__re_pricing__needs_stake_too(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.send(who, "unstake", 1)
    assert market.refuses(who, "register", TYPE, 2 * UNIT) == "stake too low"
    assert market.refuses(who, "register", TYPE, UNIT) == "stake too low"


def test_listing__another_price__goes_behind_those_at_that_price(market: Market) -> None:
    a, b, c = (market.provider(number, UNIT) for number in range(3))
    market.send(a, "register", TYPE, 2 * UNIT)
    market.send(a, "register", TYPE, UNIT)
    assert [each.provider for each in market.read("offers", TYPE, 0, 50)] == [b, c, a]


def test_listing__same_price__keeps_its_place(market: Market) -> None:
    a, b = market.provider(0, UNIT), market.provider(1, UNIT)
    assert market.send(a, "register", TYPE, UNIT) == [Event("Registered", (a, TYPE, UNIT))]
    assert [each.provider for each in market.read("offers", TYPE, 0, 50)] == [a, b]


def test_listing__deregistered__has_given_up_its_place(market: Market) -> None:
    a, b = market.provider(0, UNIT), market.provider(1, UNIT)
    market.send(a, "deregister", TYPE)
    assert market.read("offer", a, TYPE) == 0
    assert market.refuses(a, "deregister", TYPE) == "not listed"
    market.send(a, "register", TYPE, UNIT)
    assert [each.provider for each in market.read("offers", TYPE, 0, 50)] == [b, a]


def test_listing__skipped_for_a_while__keeps_its_place(market: Market) -> None:
    a = market.provider(0, UNIT)
    market.provider(1, UNIT)
    market.send(a, "unstake", 1000)
    assert market.read("job", market.request()).provider == PROVIDERS[1]
    assert market.read("offers", TYPE, 0, 1) == [(a, UNIT)]
    market.provider(2, UNIT)
    market.send(a, "stake", 1000)
    assert market.read("job", market.request()).provider == a


@pytest.mark.parametrize("name", [TYPE, "another type"])
def test_listing__made_or_re_priced_while_stake_is_locked__waits_for_it(
    market: Market, name: str
) -> None:
    who = market.provider(0, UNIT)
    job_id = market.request()
    market.send(who, "register", name, 2 * UNIT)
    assert market.refuses(USER, "requestJob", name, 2 * UNIT, URL, 1) == "no provider"
    market.send(USER, "requestToStopJob", job_id)
    assert market.read("job", market.request(name=name)).price == 2 * UNIT


def test_listing__slashed_bare__survives_and_is_shown(assigned: Market) -> None:
    assigned.later(60)
    assigned.slash(1)
    assert assigned.read("stakeOf", PROVIDERS[0]) == 0
    assert assigned.read("offers", TYPE, 0, 50) == [(PROVIDERS[0], UNIT)]
    assert assigned.refuses(USER, "requestJob", TYPE, UNIT, URL, 1) == "no provider"


@pytest.mark.parametrize(
    ("price", "reason"),
    [(0, "price is 0"), (2**128, "price too high"), (2**256 - 1, "price too high")],
)
def test_listing__price_out_of_range__reverts(market: Market, price: int, reason: str) -> None:
    market.send(PROVIDERS[0], "stake", 1000)
    assert market.refuses(PROVIDERS[0], "register", TYPE, price) == reason


def test_listing__highest_price__is_listed(market: Market) -> None:
    who = market.provider(0, MAX_PRICE)
    assert market.read("offers", TYPE, 0, 1) == [(who, MAX_PRICE)]


def test_listing__more_than_64_types__revert_until_one_goes(market: Market) -> None:
    who = PROVIDERS[0]
    market.send(who, "stake", 1000)
    for number in range(64):
        market.send(who, "register", f"t{number}", UNIT)
    assert market.refuses(who, "register", "one more", UNIT) == "too many listings"
    market.send(who, "register", "t5", 2 * UNIT)
    market.send(who, "deregister", "t40")
    market.send(who, "register", "one more", UNIT)
    market.send(who, "unstake", 1)
    assert market.refuses(USER, "requestJob", "t63", UNIT, URL, 1) == "no provider"
    market.send(who, "stake", 1)
    for name in ("t0", "t63", "one more"):
        assert market.read("offer", who, name) == UNIT
        job_id = market.request(name=name)
        market.send(USER, "requestToStopJob", job_id)
