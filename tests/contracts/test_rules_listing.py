"""Rules 1 to 4 of the protocol: register, stake, request, match."""

from __future__ import annotations

import pytest

from devnet.simulation.protocol import Event
from tests.contracts.market import (
    MONEY,
    PROVIDERS,
    T0,
    TYPE,
    UNIT,
    URL,
    USER,
    USERS,
    Market,
)

pytestmark = pytest.mark.integration


# Rule 1: Register


def test_rule_1__register_with_stake__lists_the_price(market: Market) -> None:
    who = PROVIDERS[0]
    market.send(who, "stake", 1000)
    assert market.send(who, "register", TYPE, 5) == [Event("Registered", (who, TYPE, 5))]
    assert market.read("offer", who, TYPE) == 5


def test_rule_1__register_with_too_little_stake__reverts(market: Market) -> None:
    market.send(PROVIDERS[0], "stake", 999)
    assert market.refuses(PROVIDERS[0], "register", TYPE, 5) == "stake too low"


def test_rule_1__register_with_all_stake_locked__is_allowed(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.request()
    market.send(who, "register", "x", 5)
    assert market.read("offer", who, "x") == 5


def test_rule_1__register_again__re_prices(market: Market) -> None:
    who = market.provider(0, 5)
    market.send(who, "register", TYPE, 6)
    assert market.read("offers", TYPE, 0, 50) == [(who, 6)]


def test_rule_1__deregister__stops_new_matches_and_touches_no_job(market: Market) -> None:
    who = market.provider(0, UNIT, stake=2)
    job_id = market.request()
    before = market.read("job", job_id)
    assert market.send(who, "deregister", TYPE) == [Event("Deregistered", (who, TYPE))]
    assert market.read("job", job_id) == before
    assert market.refuses(USER, "requestJob", TYPE, UNIT, URL, 10) == "no provider"
    assert market.read("lockedStakeOf", who) == 1000


# Rule 2: Stake


def test_rule_2__unlocked_stake__is_all_that_can_be_withdrawn(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.send(who, "stake", 500)
    market.request()
    assert market.refuses(who, "unstake", 501) == "stake is locked"
    assert market.send(who, "unstake", 500) == [Event("Unstaked", (who, 500))]
    assert (market.read("stakeOf", who), market.read("lockedStakeOf", who)) == (1000, 1000)
    assert market.pond.read("balanceOf", who) == MONEY - 1000


def test_rule_2__stake__comes_from_the_caller(market: Market) -> None:
    assert market.send(PROVIDERS[0], "stake", 7) == [Event("Staked", (PROVIDERS[0], 7))]
    assert market.pond.read("balanceOf", market.registry.address) == 7


# Rule 3: Request


def test_rule_3__request__puts_the_deposit_into_that_job_s_escrow(market: Market) -> None:
    who = market.provider(0, UNIT, stake=2)
    events = market.send(USER, "requestJob", TYPE, 2 * UNIT, URL, 70)
    assert events == [
        Event("JobRequested", (1, USER, TYPE, 2 * UNIT, URL, 70)),
        Event("JobAssigned", (1, who, 1, UNIT, T0)),
    ]
    market.send(USERS[1], "requestJob", TYPE, 2 * UNIT, URL, 30)
    assert [market.read("job", i).escrow for i in (1, 2)] == [70, 30]
    assert market.money.read("balanceOf", USER) == MONEY - 70


# Rule 4: Match


def test_rule_4__match__cheapest_wins_and_locks_stake(market: Market) -> None:
    market.provider(0, 3 * UNIT)
    cheap = market.provider(1, 2 * UNIT)
    job = market.read("job", market.request())
    assert (job.provider, job.price) == (cheap, 2 * UNIT)
    assert market.read("lockedStakeOf", cheap) == 1000
    assert market.read("jobsOf", cheap, 0, 50) == [1]


def test_rule_4__match__ties_go_to_the_earliest_listing(market: Market) -> None:
    second, first = PROVIDERS[1], PROVIDERS[2]
    for who in (first, second):
        market.send(who, "stake", 1000)
        market.send(who, "register", TYPE, UNIT)
    assert [market.read("job", market.request()).provider for _ in range(2)] == [first, second]


def test_rule_4__match__skips_who_lacks_unlocked_stake(market: Market) -> None:
    cheap, dear = market.provider(0, UNIT), market.provider(1, 2 * UNIT)
    winners = [market.read("job", market.request()).provider for _ in range(2)]
    assert winners == [cheap, dear]


def test_rule_4__max_price__is_inclusive(market: Market) -> None:
    market.provider(0, UNIT)
    assert market.refuses(USER, "requestJob", TYPE, UNIT - 1, URL, 10) == "no provider"
    assert market.request(max_price=UNIT) == 1


def test_rule_4__no_match__moves_no_money(market: Market) -> None:
    assert market.refuses(USER, "requestJob", TYPE, UNIT, URL, 10) == "no provider"
    assert market.money.read("balanceOf", USER) == MONEY
    assert market.read("jobCount") == 0


def test_rule_4__own_request__may_be_matched(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.send(who, "requestJob", TYPE, UNIT, URL, 10)
    assert (market.read("job", 1).user, market.read("job", 1).provider) == (who, who)
