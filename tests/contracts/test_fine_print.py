"""The fine print of the protocol, line by line: boundary seconds, ends, who may."""

from __future__ import annotations

from typing import Any

import pytest

from devnet.simulation.protocol import DEAD, MAX_PRICE, Event, Terms
from tests.contracts.market import (
    AUDITORS,
    ENDPOINT,
    MONEY,
    PROVIDERS,
    STRANGER,
    T0,
    TYPE,
    UNIT,
    URL,
    USER,
    USERS,
    Market,
)

pytestmark = pytest.mark.integration

BOOTSTRAPPING, STARTUP, COOL_DOWN = 60, 90, 30


# Windows are half-open


def test_window__report_started__until_the_last_second_before_the_deadline(
    assigned: Market,
) -> None:
    assigned.evm.now = T0 + BOOTSTRAPPING
    assert assigned.refuses(PROVIDERS[0], "reportStarted", 1, ENDPOINT) == "bootstrapping is over"
    assigned.evm.now -= 1
    assigned.send(PROVIDERS[0], "reportStarted", 1, ENDPOINT)
    assert assigned.read("job", 1).startedAt == T0 + BOOTSTRAPPING - 1


def test_window__fault_of_an_unstarted__from_the_deadline_on(assigned: Market) -> None:
    assigned.evm.now = T0 + BOOTSTRAPPING - 1
    assert assigned.refuses(AUDITORS[0], "reportFault", 1, 1) == "too early to report"
    assigned.later(1)
    assigned.send(AUDITORS[0], "reportFault", 1, 1)


def test_window__fault_of_a_started__from_startup_on(running: Market) -> None:
    running.evm.now = T0 + STARTUP - 1
    assert running.refuses(AUDITORS[0], "reportFault", 1, 1) == "too early to report"
    running.later(1)
    running.send(AUDITORS[0], "reportFault", 1, 1)


def test_window__finalize_exit__from_exit_at_on(running: Market) -> None:
    running.send(PROVIDERS[0], "requestToExitJob", 1)
    running.evm.now = T0 + COOL_DOWN - 1
    assert running.refuses(STRANGER, "finalizeExit", 1) == "cool-down not over"
    running.later(1)
    running.send(STRANGER, "finalizeExit", 1)
    assert running.read("job", 1).stoppedAt == T0 + COOL_DOWN


def test_window__cool_down_of_0__is_over_in_the_second_of_the_request() -> None:
    market = Market(Terms(1000, 60, 90, 0, 2))
    who = market.provider(0, UNIT)
    market.request()
    market.send(who, "requestToExitJob", 1)
    assert market.read("job", 1).status == 3
    assert market.send(STRANGER, "settle", 1) == [Event("JobStopped", (1, who, 3))]


# The dry second


@pytest.mark.parametrize(
    ("price", "deposit", "dry"),
    [
        (UNIT, 100, 100),
        (3 * UNIT, 100, 34),
        (UNIT // 3, 1, 4),  # 333333333333 * 3 < 10**12
        (1, 1, 10**12),
        (MAX_PRICE, 10**15, 1),
        (UNIT + 1, 100, 100),
    ],
)
def test_dry_second__all_of_the_escrow_is_owed__it_is_over(
    market: Market, price: int, deposit: int, dry: int
) -> None:
    who = market.provider(0, price)
    market.request(max_price=MAX_PRICE, deposit=deposit)
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.later(dry - 1)
    market.send(STRANGER, "settle", 1)
    assert market.read("job", 1).stopReason == 0
    market.later(1)
    assert market.refuses(USER, "addFunds", 1, 1) == "job is over"
    market.send(STRANGER, "settle", 1)
    job = market.read("job", 1)
    assert (job.stopReason, job.stoppedAt, job.escrow) == (2, T0 + dry, 0)
    assert market.money.read("balanceOf", who) == MONEY + deposit


def test_dry_second__paid_before_and_topped_up__is_counted_from_the_start(running: Market) -> None:
    running.later(400)
    running.send(STRANGER, "settle", 1)
    running.send(STRANGER, "addFunds", 1, 500)
    running.evm.now = T0 + 1499
    running.send(STRANGER, "settle", 1)
    assert running.read("job", 1).escrow == 1
    running.later(77)
    running.send(STRANGER, "settle", 1)
    assert running.read("job", 1).stoppedAt == T0 + 1500


def test_dry_second__escrow_of_nearly_everything__overflows_nothing(market: Market) -> None:
    rich = USERS[1]
    supply = 2**256 - 1 - market.money.read("totalSupply")
    market.money.send(rich, "mint", rich, supply)
    who = market.provider(0, MAX_PRICE)
    market.send(rich, "requestJob", TYPE, MAX_PRICE, URL, supply)
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.later(10)
    owed = MAX_PRICE * 10 // UNIT
    assert market.send(STRANGER, "settle", 1) == [Event("JobSettled", (1, who, owed))]
    market.money.send(who, "transfer", rich, owed)
    market.send(rich, "addFunds", 1, owed)
    market.later(10)
    assert market.send(STRANGER, "settle", 1)[0].name == "JobSettled"
    market.send(rich, "requestToStopJob", 1)
    assert market.money.read("balanceOf", market.registry.address) == 0


# Exit without finalizeExit


@pytest.mark.parametrize("function", ["requestToStopJob", "settle", "finalizeExit"])
def test_exit_passed__next_entry_point__stops_as_of_exit_at(running: Market, function: str) -> None:
    running.send(PROVIDERS[0], "requestToExitJob", 1)
    running.later(500)
    assert running.send(USER, function, 1) == [
        Event("JobSettled", (1, PROVIDERS[0], COOL_DOWN)),
        Event("JobStopped", (1, PROVIDERS[0], 3)),
    ]
    assert running.read("job", 1).stoppedAt == T0 + COOL_DOWN


@pytest.mark.parametrize(
    ("deposit", "stopped", "reason"), [(29, 29, 2), (30, 30, 2), (31, 30, 3), (1000, 30, 3)]
)
def test_exit_and_dryness__the_earlier_second_decides_and_dryness_a_tie(
    market: Market, deposit: int, stopped: int, reason: int
) -> None:
    who = market.provider(0, UNIT)
    market.request(deposit=deposit)
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.send(who, "requestToExitJob", 1)
    market.later(100)
    market.send(STRANGER, "finalizeExit", 1)
    job = market.read("job", 1)
    assert (job.stoppedAt - T0, job.stopReason) == (stopped, reason)


# A job that is over

REVERTING: tuple[tuple[Any, ...], ...] = (
    (STRANGER, "addFunds", 1, 1),
    (PROVIDERS[0], "reportStarted", 1, ENDPOINT),
    (PROVIDERS[0], "requestToExitJob", 1),
    (AUDITORS[0], "reportFault", 1, 1),
)


@pytest.mark.parametrize("call", REVERTING, ids=lambda call: call[1])
def test_over_but_unsettled__others__revert(running: Market, call: tuple[Any, ...]) -> None:
    running.later(1000)
    assert running.refuses(*call) == "job is over"
    assert running.read("job", 1).stopReason == 0


@pytest.mark.parametrize(
    "call",
    [(USER, "requestToStopJob", 1), (STRANGER, "settle", 1), (STRANGER, "finalizeExit", 1)],
    ids=lambda call: call[1],
)
def test_over_but_unsettled__these_three__record_the_stop(
    running: Market, call: tuple[Any, ...]
) -> None:
    running.later(1234)
    assert running.send(*call)[-1] == Event("JobStopped", (1, PROVIDERS[0], 2))
    assert running.read("job", 1).stoppedAt == T0 + 1000


def test_over_but_unsettled__getters__show_what_is_stored(running: Market) -> None:
    running.later(5000)
    job = running.read("job", 1)
    assert (job.status, job.escrow, job.stoppedAt) == (2, 1000, 0)
    assert running.read("jobsOf", PROVIDERS[0], 0, 50) == [1]


@pytest.mark.parametrize(
    "call", [*REVERTING, (USER, "requestToStopJob", 1)], ids=lambda call: call[1]
)
def test_already_stopped__others__revert(running: Market, call: tuple[Any, ...]) -> None:
    running.send(USER, "requestToStopJob", 1)
    assert running.refuses(*call) == "job is over"


@pytest.mark.parametrize("function", ["settle", "finalizeExit"])
def test_already_stopped__settle_and_finalize__do_nothing(running: Market, function: str) -> None:
    running.send(USER, "requestToStopJob", 1)
    before = running.read("job", 1)
    running.later(10)
    assert running.send(STRANGER, function, 1) == []
    assert running.read("job", 1) == before


# Who may


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ((STRANGER, "requestToStopJob", 1), "not the user"),
        ((PROVIDERS[0], "requestToStopJob", 1), "not the user"),
        ((USER, "reportStarted", 1, ENDPOINT), "not the provider"),
        ((PROVIDERS[1], "requestToExitJob", 1), "not the provider"),
        ((USER, "reportFault", 1, 1), "not an auditor"),
        ((AUDITORS[0], "reportFault", 1, 0), "not the current generation"),
        ((AUDITORS[0], "reportFault", 1, 2), "not the current generation"),
    ],
)
def test_not_allowed__reverts(assigned: Market, call: tuple[Any, ...], reason: str) -> None:
    assert assigned.refuses(*call) == reason


def test_slashed_provider__has_no_say_any_more(market: Market) -> None:
    bad = market.provider(0, UNIT)
    market.provider(1, UNIT)
    market.request()
    market.later(60)
    market.slash(1)
    assert market.refuses(bad, "reportStarted", 1, ENDPOINT) == "not the provider"
    assert market.refuses(bad, "requestToExitJob", 1) == "not the provider"


def test_second_exit_request__reverts_and_moves_nothing(running: Market) -> None:
    running.send(PROVIDERS[0], "requestToExitJob", 1)
    running.later(5)
    assert running.refuses(PROVIDERS[0], "requestToExitJob", 1) == "exit already requested"
    assert running.read("job", 1).exitRequestedAt == T0
    assert running.money.read("balanceOf", PROVIDERS[0]) == MONEY


def test_finalize_exit__no_request__reverts(running: Market) -> None:
    running.later(500)
    assert running.refuses(STRANGER, "finalizeExit", 1) == "cool-down not over"


def test_report_started__twice__reverts(running: Market) -> None:
    assert running.refuses(PROVIDERS[0], "reportStarted", 1, "x") == "already started"


@pytest.mark.parametrize(
    "call",
    [
        ("addFunds", 1), ("requestToStopJob",), ("reportStarted", ENDPOINT),
        ("requestToExitJob",), ("finalizeExit",), ("settle",),
    ],
    ids=lambda call: call[0],
)  # fmt: skip
@pytest.mark.parametrize("job_id", [0, 2, 2**256 - 1])
def test_unknown_job__reverts(assigned: Market, call: tuple[Any, ...], job_id: int) -> None:
    assert assigned.refuses(USER, call[0], job_id, *call[1:]) == "no such job"
    assert assigned.refuses(AUDITORS[0], "reportFault", job_id, 1) == "no such job"
    assert assigned.refuses(USER, "job", job_id) == "no such job"


# Slashed POND


def test_slashed_pond__leaves_in_the_same_transaction(assigned: Market) -> None:
    assigned.later(60)
    assigned.slash(1)
    assert assigned.pond.read("balanceOf", DEAD) == 1000
    assert assigned.pond.read("balanceOf", assigned.registry.address) == 0
