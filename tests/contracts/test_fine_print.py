"""The fine print of the protocol, line by line: boundary seconds, reverts, fields, numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.evm import Event
from tests.contracts.market import (
    AUDITORS,
    ENDPOINT,
    MONEY,
    PROVIDERS,
    T0,
    TYPE,
    UNIT,
    URL,
    USERS,
    Market,
)
from tests.contracts.model import DEAD, MAX_PRICE, Terms

pytestmark = pytest.mark.integration

USER, STRANGER = USERS[0], USERS[2]
BOOTSTRAPPING, STARTUP, COOL_DOWN = 60, 90, 30


@pytest.fixture
def running(market: Market) -> Market:
    """Job 1 of USER by PROVIDERS[0], a base unit a second, 1000 deposited, started at T0."""
    who = market.provider(0, UNIT)
    market.request(deposit=1000)
    market.send(who, "reportStarted", 1, ENDPOINT)
    return market


@pytest.fixture
def assigned(market: Market) -> Market:
    """The same job, not started."""
    market.provider(0, UNIT)
    market.request(deposit=1000)
    return market


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


# Listing


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


# Amounts of 0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (("stake", 0), "amount is 0"),
        (("unstake", 0), "amount is 0"),
        (("addFunds", 1, 0), "amount is 0"),
        (("requestJob", TYPE, UNIT, URL, 0), "deposit is 0"),
    ],
)
def test_amount_of_0__reverts(assigned: Market, call: tuple[Any, ...], reason: str) -> None:
    assert assigned.refuses(PROVIDERS[0], *call) == reason


def test_started_and_stopped_in_one_second__owes_nothing(running: Market) -> None:
    assert running.send(USER, "requestToStopJob", 1) == [Event("JobStopped", (1, PROVIDERS[0], 1))]
    assert running.money.read("balanceOf", USER) == MONEY


def test_max_price__of_any_size__is_taken(market: Market) -> None:
    market.provider(0, UNIT)
    market.request(max_price=2**256 - 1)
    assert market.read("job", 1).maxPrice == 2**256 - 1
    assert market.refuses(USER, "requestJob", TYPE, 0, URL, 1) == "no provider"


@pytest.mark.parametrize("call", [("stake",), ("addFunds", 1)], ids=lambda call: call[0])
def test_amount__beyond_all_numbers__reverts_with_a_reason(
    assigned: Market, call: tuple[Any, ...]
) -> None:
    assert assigned.refuses(PROVIDERS[0], *call, 2**256 - 1) == "amount too high"
    assert assigned.refuses(STRANGER, "unstake", 2**256 - 1) == "stake is locked"
    most = 2**256 - 1001
    assert assigned.refuses(PROVIDERS[0], *call, most) == "balance too low"


# Numbers and fields


def test_numbers__first_job__is_1_of_generation_1(assigned: Market) -> None:
    job = assigned.read("job", 1)
    assert (assigned.read("jobCount"), job.generation, job.status) == (1, 1, 1)


def test_fields__life_of_a_job__statuses(running: Market) -> None:
    assert running.read("job", 1).status == 2
    running.send(PROVIDERS[0], "requestToExitJob", 1)
    assert running.read("job", 1).status == 3
    running.send(USER, "requestToStopJob", 1)
    assert running.read("job", 1).status == 4


def test_fields__settled_until__is_the_last_settlement_even_if_it_paid_nothing(
    market: Market,
) -> None:
    who = market.provider(0, 1)
    market.request()
    market.later(3)
    market.send(STRANGER, "settle", 1)
    assert market.read("job", 1).settledUntil == 0
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.later(7)
    assert market.send(STRANGER, "settle", 1) == []
    assert market.read("job", 1).settledUntil == T0 + 10


def test_fields__after_a_stop__keep_the_last_assignment(running: Market) -> None:
    running.later(5)
    running.send(PROVIDERS[0], "requestToExitJob", 1)
    running.later(2)
    running.send(USER, "requestToStopJob", 1)
    assert tuple(running.read("job", 1)) == (
        USER, PROVIDERS[0], TYPE, 10**20, UNIT, URL, 1, 4, 1, T0, T0, T0 + 5, T0 + 7, 0, T0 + 7,
        ENDPOINT,
    )  # fmt: skip


def test_fields__after_no_provider__are_the_slashed_one_s(running: Market) -> None:
    running.later(90)
    running.slash(1)
    assert tuple(running.read("job", 1)) == (
        USER, PROVIDERS[0], TYPE, 10**20, UNIT, URL, 1, 4, 4, T0, T0, 0, T0 + 90, 0, T0 + 90,
        ENDPOINT,
    )  # fmt: skip


@pytest.mark.parametrize("function", ["jobsOf", "offers"])
def test_pages__of_60__have_50_at_most_and_end(function: str) -> None:
    market = Market(crowd=60)
    who = market.provider(0, UNIT, stake=60)
    whose = TYPE
    if function == "jobsOf":
        whose = who
        for _ in range(60):
            market.request(deposit=1)
    else:
        for number, person in enumerate(market.crowd):
            market.send(person, "stake", 1000)
            market.send(person, "register", TYPE, (2 + number) * UNIT)
        market.send(who, "deregister", TYPE)
    pages = [market.read(function, whose, start, 2**256 - 1) for start in (0, 50, 60, 2**256 - 1)]
    assert [len(page) for page in pages] == [50, 10, 0, 0]
    whole = pages[0] + pages[1]
    assert len(set(whole)) == 60
    assert market.read(function, whose, 10, 3) == whole[10:13]
    assert market.read(function, whose, 10, 0) == []


def test_jobs_of__jobs_stopped_in_any_order__are_gone(market: Market) -> None:
    who = market.provider(0, UNIT, stake=5)
    left = {market.request() for _ in range(5)}
    for job_id in (3, 5, 1, 4, 2):
        market.send(USER, "requestToStopJob", job_id)
        left.remove(job_id)
        assert set(market.read("jobsOf", who, 0, 50)) == left


# Texts


@pytest.mark.parametrize(
    ("sender", "call", "name", "longest"),
    [
        (PROVIDERS[0], ("register", "*", UNIT), "instanceType", 64),
        (PROVIDERS[0], ("deregister", "*"), "instanceType", 64),
        (USER, ("requestJob", "*", UNIT, URL, 1), "instanceType", 64),
        (USER, ("requestJob", TYPE, UNIT, "*", 1), "enclaveUrl", 512),
        (PROVIDERS[0], ("reportStarted", 1, "*"), "endpoint", 128),
    ],
)
def test_text__length_out_of_range__reverts(
    assigned: Market, sender: str, call: tuple[Any, ...], name: str, longest: int
) -> None:
    def filled(text: str) -> list[Any]:
        return [text if each == "*" else each for each in call]

    assert assigned.refuses(sender, *filled("")) == f"{name} is empty"
    assert assigned.refuses(sender, *filled("é" * (longest // 2) + "x")) == f"{name} too long"
    assert assigned.refuses(sender, *filled("x" * 1024)) == f"{name} too long"


def test_text__of_the_longest__is_kept_whole(market: Market) -> None:
    name, url, endpoint = "é" * 32, "u" * 512, "e" * 128
    who = market.provider(0, UNIT, name=name)
    market.send(USER, "requestJob", name, UNIT, url, 10)
    market.send(who, "reportStarted", 1, endpoint)
    job = market.read("job", 1)
    assert (job.instanceType, job.enclaveUrl, job.endpoint) == (name, url, endpoint)


def test_text__unlisted_or_far_too_long__has_no_offers(market: Market) -> None:
    market.provider(0, UNIT)
    for name in ("nobody lists this", "", "x" * 200):
        assert market.read("offers", name, 0, 50) == []
        assert market.read("offer", PROVIDERS[0], name) == 0
        assert market.read("offer", "0x" + "00" * 20, name) == 0


# Tokens


@pytest.mark.parametrize("call", [("stake", MONEY + 1), ("requestJob", TYPE, UNIT, URL, MONEY + 1)])
def test_token__not_enough_of_it__reverts_and_changes_nothing(
    market: Market, call: tuple[Any, ...]
) -> None:
    market.provider(0, UNIT)
    assert market.refuses(STRANGER, *call) == "balance too low"
    assert (market.read("jobCount"), market.read("stakeOf", STRANGER)) == (0, 0)
