"""Rules 6 and 7 of the protocol: monitor, reassign."""

from __future__ import annotations

import pytest

from devnet.simulation.protocol import DEAD, Event
from tests.contracts.market import (
    AUDITORS,
    ENDPOINT,
    MONEY,
    PROVIDERS,
    T0,
    UNIT,
    USER,
    Market,
)

pytestmark = pytest.mark.integration


# Rule 6: Monitor


def test_rule_6__quorum__slashes_the_stake_locked_for_the_job(market: Market) -> None:
    who = market.provider(0, UNIT, stake=3)
    market.request()
    market.request()
    market.later(60)
    assert market.send(AUDITORS[0], "reportFault", 1, 1) == [
        Event("FaultReported", (1, AUDITORS[0], 1))
    ]
    assert market.read("stakeOf", who) == 3000
    assert market.send(AUDITORS[2], "reportFault", 1, 1) == [
        Event("FaultReported", (1, AUDITORS[2], 1)),
        Event("JobSlashed", (1, who, 1000)),
        Event("JobStopped", (1, who, 4)),
    ]
    assert (market.read("stakeOf", who), market.read("lockedStakeOf", who)) == (2000, 1000)
    assert market.pond.read("balanceOf", DEAD) == 1000


def test_rule_6__one_vote_an_auditor_an_assignment(market: Market) -> None:
    market.provider(0, UNIT)
    market.provider(1, UNIT)
    market.request()
    market.later(60)
    market.send(AUDITORS[0], "reportFault", 1, 1)
    assert market.refuses(AUDITORS[0], "reportFault", 1, 1) == "already reported"
    market.send(AUDITORS[1], "reportFault", 1, 1)
    market.later(60)
    market.send(AUDITORS[0], "reportFault", 1, 2)
    assert market.read("job", 1).generation == 2


def test_rule_6__votes_of_two_generations__do_not_add_up(market: Market) -> None:
    for number in range(3):
        market.provider(number, UNIT)
    market.request()
    market.later(60)
    market.slash(1)
    market.later(60)
    market.send(AUDITORS[0], "reportFault", 1, 2)
    assert market.read("job", 1).generation == 2


def test_rule_6__slash_of_a_running_job__pays_what_accrued_first(market: Market) -> None:
    who = market.serve()
    market.later(90)
    market.send(AUDITORS[0], "reportFault", 1, 1)
    market.later(10)
    events = market.send(AUDITORS[1], "reportFault", 1, 1)
    assert [e.name for e in events] == ["JobSettled", "FaultReported", "JobSlashed", "JobStopped"]
    assert market.money.read("balanceOf", who) == MONEY + 100
    assert market.money.read("balanceOf", USER) == MONEY - 100


# Rule 7: Reassign


def test_rule_7__slash__matches_again_without_the_slashed(market: Market) -> None:
    bad, good = market.provider(0, UNIT, stake=5), market.provider(1, 9 * UNIT)
    market.request(deposit=500)
    market.later(60)
    events = market.slash(1)
    assert events[-1] == Event("JobAssigned", (1, good, 2, 9 * UNIT, T0 + 60))
    job = market.read("job", 1)
    assert (job.provider, job.generation, job.escrow, job.assignedAt) == (good, 2, 500, T0 + 60)
    assert (market.read("jobsOf", bad, 0, 50), market.read("jobsOf", good, 0, 50)) == ([], [1])


def test_rule_7__slashed_long_ago__stays_out(market: Market) -> None:
    for number in range(3):
        market.provider(number, (1 + number) * UNIT, stake=5)
    market.request()
    for generation in (2, 3):
        market.later(60)
        market.slash(1)
        assert market.read("job", 1).provider == PROVIDERS[generation - 1]
    market.later(60)
    assert market.slash(1)[-1] == Event("JobStopped", (1, PROVIDERS[2], 4))


def test_rule_7__slashed_on_this_job__may_win_others(market: Market) -> None:
    bad = market.provider(0, UNIT, stake=5)
    market.request()
    market.later(60)
    market.slash(1)
    assert market.read("job", market.request()).provider == bad


def test_rule_7__rematch__keeps_the_first_max_price(market: Market) -> None:
    market.provider(0, UNIT)
    market.provider(1, 3 * UNIT)
    market.request(max_price=2 * UNIT, deposit=500)
    market.later(60)
    assert market.slash(1)[-1].args[-1] == 4
    assert market.money.read("balanceOf", USER) == MONEY


def test_rule_7__new_assignment__starts_from_nothing(market: Market) -> None:
    bad, good = market.provider(0, UNIT), market.provider(1, 2 * UNIT)
    market.request(deposit=1000)
    market.send(bad, "reportStarted", 1, ENDPOINT)
    market.later(70)
    market.send(bad, "requestToExitJob", 1)
    market.later(20)
    market.slash(1)
    job = market.read("job", 1)
    assert (job.status, job.startedAt, job.settledUntil, job.exitRequestedAt) == (1, 0, 0, 0)
    assert (job.endpoint, job.escrow) == ("", 910)
    market.later(30)
    market.send(good, "reportStarted", 1, "b")
    market.later(10)
    assert market.send(USER, "settle", 1) == [Event("JobSettled", (1, good, 20))]
