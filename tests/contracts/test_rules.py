"""The nine rules of the protocol, by number and name."""

from __future__ import annotations

import pytest

from devnet.simulation.protocol import DEAD, Event
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

pytestmark = pytest.mark.integration

USER = USERS[0]
NEVER_STAKED = PROVIDERS[7]


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
    who = market.provider(0, UNIT)
    market.request(deposit=1000)
    market.send(who, "reportStarted", 1, ENDPOINT)
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


# Rule 8: Stop


def test_rule_8__user_stops__provider_is_paid_and_the_rest_comes_back(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.request(deposit=1000)
    market.send(who, "reportStarted", 1, ENDPOINT)
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
    who = market.provider(0, UNIT)
    market.request(deposit=100)
    market.send(who, "reportStarted", 1, ENDPOINT)
    market.later(5000)
    assert market.send(USERS[1], "settle", 1) == [
        Event("JobSettled", (1, who, 100)),
        Event("JobStopped", (1, who, 2)),
    ]
    job = market.read("job", 1)
    assert (job.stoppedAt, job.stopReason, job.settledUntil) == (T0 + 100, 2, T0 + 100)


def test_rule_8__exit__serves_and_earns_through_the_cool_down(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.request(deposit=1000)
    market.send(who, "reportStarted", 1, ENDPOINT)
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
    who = market.provider(0, UNIT)
    market.request(deposit=1000)
    market.send(who, "reportStarted", 1, ENDPOINT)
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
    who = market.provider(0, price)
    market.request(deposit=100_000)
    market.send(who, "reportStarted", 1, ENDPOINT)
    for seconds in (1, 1, 2, 3, 5, 8, 13, 21):
        market.later(seconds)
        market.send(USER, "settle", 1)
    assert market.money.read("balanceOf", who) - MONEY == price * 54 // UNIT


def test_rule_9__stopped_twice__is_paid_once(market: Market) -> None:
    who = market.provider(0, UNIT)
    market.request(deposit=100)
    market.send(who, "reportStarted", 1, ENDPOINT)
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
