"""The fine print of amounts, numbers, fields, pages and texts."""

from __future__ import annotations

from typing import Any

import pytest

from devnet.simulation.protocol import Event
from tests.contracts.market import (
    ENDPOINT,
    MONEY,
    PROVIDERS,
    STRANGER,
    T0,
    TYPE,
    UNIT,
    URL,
    USER,
    Market,
)

pytestmark = pytest.mark.integration


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
    assert market.read("job", 1).settledUntil == T0 + 3
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
