"""Rules 5, 8 and 9 of the protocol: bootstrap, stop, money is exact."""

from __future__ import annotations

import pytest

from devnet.simulation.protocol import Event
from tests.contracts.market import (
    ENDPOINT,
    MONEY,
    T0,
    UNIT,
    USER,
    USERS,
    Market,
)

pytestmark = pytest.mark.integration


# Rule 5: Bootstrap


def test_rule_5__started__earns_from_the_report_on(market: Market) -> None:
    who = market.provider(0, UNIT)
    job_id = market.request()
    market.later(40)
    assert market.send(who, "reportStarted", job_id, ENDPOINT) == [
        Event("JobStarted", (job_id, who, ENDPOINT))
    ]
    market.later(100)
    assert market.send(USER, "settle", job_id) == [Event("JobSettled", (job_id, who, 100))]
    assert market.read("job", job_id).endpoint == ENDPOINT


def test_rule_5__never_started__is_owed_nothing(market: Market) -> None:
    market.provider(0, UNIT)
    job_id = market.request(deposit=500)
    market.later(10_000)
    market.send(USER, "requestToStopJob", job_id)
    assert market.money.read("balanceOf", USER) == MONEY


# Rule 8: Stop


def test_rule_8__user_stops__provider_is_paid_and_the_rest_comes_back(market: Market) -> None:
    who = market.serve()
    market.later(300)
    assert market.send(USER, "requestToStopJob", 1) == [
        Event("JobSettled", (1, who, 300)),
        Event("JobStopped", (1, who, 1)),
    ]
    assert market.money.read("balanceOf", USER) == MONEY - 300
    assert market.money.read("balanceOf", who) == MONEY + 300
    assert market.read("lockedStakeOf", who) == 0
    assert market.read("jobsOf", who, 0, 50) == []


def test_rule_8__dry__stops_as_of_the_dry_second(market: Market) -> None:
    who = market.serve(deposit=100)
    market.later(5000)
    assert market.send(USERS[1], "settle", 1) == [
        Event("JobSettled", (1, who, 100)),
        Event("JobStopped", (1, who, 2)),
    ]
    job = market.read("job", 1)
    assert (job.stoppedAt, job.stopReason, job.settledUntil) == (T0 + 100, 2, T0 + 100)


def test_rule_8__exit__serves_and_earns_through_the_cool_down(market: Market) -> None:
    who = market.serve()
    market.later(10)
    assert market.send(who, "requestToExitJob", 1) == [
        Event("JobSettled", (1, who, 10)),
        Event("ExitRequested", (1, who, T0 + 40)),
    ]
    market.later(100)
    assert market.send(USERS[2], "finalizeExit", 1) == [
        Event("JobSettled", (1, who, 30)),
        Event("JobStopped", (1, who, 3)),
    ]
    assert market.read("job", 1).stoppedAt == T0 + 40
    assert market.money.read("balanceOf", USER) == MONEY - 40


def test_rule_8__cool_down__can_be_slashed(market: Market) -> None:
    who = market.serve()
    market.later(80)
    market.send(who, "requestToExitJob", 1)
    market.later(10)
    assert market.slash(1)[-1] == Event("JobStopped", (1, who, 4))
    assert market.read("stakeOf", who) == 0


def test_rule_8__exit_while_bootstrapping__start_stays_possible(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.request()
    market.send(who, "requestToExitJob", 1)
    market.later(29)
    market.send(who, "reportStarted", 1, ENDPOINT)
    assert market.read("job", 1).status == 3
    market.later(1)
    assert market.send(USER, "settle", 1) == [
        Event("JobSettled", (1, who, 1)),
        Event("JobStopped", (1, who, 3)),
    ]


def test_rule_8__anyone__may_settle_fund_and_finalize(market: Market) -> None:
    who, stranger = market.provider(0, UNIT), USERS[2]
    market.request(deposit=10)
    market.send(who, "reportStarted", 1, ENDPOINT)
    assert market.send(stranger, "addFunds", 1, 5) == [Event("FundsAdded", (1, stranger, 5))]
    market.later(3)
    assert market.send(stranger, "settle", 1) == [Event("JobSettled", (1, who, 3))]
    market.send(who, "requestToExitJob", 1)
    market.later(30)
    assert market.send(stranger, "finalizeExit", 1)[-1] == Event("JobStopped", (1, who, 2))


# Rule 9: Money is exact


@pytest.mark.parametrize("price", [1, 7, UNIT // 3, UNIT - 1, UNIT, UNIT + 1, 123 * UNIT // 7])
def test_rule_9__settling_often__pays_what_settling_once_does(market: Market, price: int) -> None:
    who = market.serve(price=price, deposit=100_000)
    for seconds in (1, 1, 2, 3, 5, 8, 13, 21):
        market.later(seconds)
        market.send(USER, "settle", 1)
    assert market.money.read("balanceOf", who) - MONEY == price * 54 // UNIT


def test_rule_9__stopped_twice__is_paid_once(market: Market) -> None:
    who = market.serve(deposit=100)
    market.later(200)
    market.send(USER, "settle", 1)
    assert market.send(USER, "settle", 1) == []
    assert market.send(USER, "finalizeExit", 1) == []
    assert market.money.read("balanceOf", who) == MONEY + 100


def test_rule_9__tokens_sent_past_the_functions__belong_to_nobody(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.money.send(USER, "transfer", market.registry.address, 77)
    market.request(deposit=10)
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.later(100)
    market.send(USER, "settle", 1)
    assert market.money.read("balanceOf", market.registry.address) == 77
