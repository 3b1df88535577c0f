"""MarketV1's arithmetic against the model that the contract itself is tested with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import (
    Address,
    Ending,
    Job,
    JobId,
    JobStatus,
    Notice,
    Price,
    StopReason,
    Wei,
)
from agent.market.terms import Due, DueKind
from agent.markets.marketv1.terms import MarketV1Terms, owed, paid_until
from devnet.simulation.marketv1.model import HOLDER, MarketV1, Refusal

pytestmark = pytest.mark.unit

T0 = 1_800_000_000
UNIT = 10**12
TYPE = "us-east-1/c6a.xlarge"
OWNER = Address("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
PROVIDER = Address("0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF")
TERMS = MarketV1Terms({TYPE: Price(UNIT)})

JOB = Job(
    id=JobId(0), user=OWNER, provider=PROVIDER, instance_type=TYPE, max_price=Price(UNIT),
    price=Price(UNIT), enclave_url="https://a/x", generation=1, status=JobStatus.RUNNING,
    stop_reason=StopReason.NONE, assigned_at=T0, started_at=T0, exit_requested_at=0, stopped_at=0,
    escrow=Wei(1000), settled_until=T0, endpoint="",
)  # fmt: skip

rates = st.one_of(
    st.integers(0, 10 * UNIT), st.integers(0, 2**128), st.sampled_from([2**248, 2**256 - 1])
)
balances = st.integers(0, 10**6)
spans = st.one_of(st.integers(0, 3000), st.integers(0, 10**9))


def job(rate: int, balance: int) -> Job:
    return replace(JOB, price=Price(rate), escrow=Wei(balance))


@given(rates, balances, spans)
def test_accrued__any_job_at_any_time__is_what_the_contract_pays(
    rate: int, balance: int, seconds: int
) -> None:
    model = MarketV1(T0)
    model.state.money[OWNER] = balance
    model.call(OWNER, "jobOpen", "{}", PROVIDER, rate, balance)
    model.now += seconds
    try:
        model.call(OWNER, "jobSettle", 0)
    except Refusal:
        assert TERMS.accrued(job(rate, balance), T0 + seconds) == 0
        return
    assert model.state.money[PROVIDER] == TERMS.accrued(job(rate, balance), T0 + seconds)
    assert model.state.money[HOLDER] == balance - model.state.money[PROVIDER]


@given(rates.filter(bool), balances)
def test_paid_until__any_job__is_the_last_second_paid_in_full(rate: int, balance: int) -> None:
    seconds = paid_until(job(rate, balance)) - T0
    assert owed(Price(rate), seconds) <= balance < owed(Price(rate), seconds + 1)


@given(rates, balances, spans)
def test_ending__any_job__is_total_and_over_from_that_second_on(
    rate: int, balance: int, seconds: int
) -> None:
    one = job(rate, balance)
    end = TERMS.ending(one)
    assert end is not None
    assert TERMS.is_over(one, end.at - 1) == (end.at <= one.settled_until)
    assert TERMS.is_over(one, end.at)
    assert TERMS.unrecorded(one, T0 + seconds) in (False, seconds >= end.at - T0)


def test_due__of_an_open_job__is_a_goal_that_watchers_have() -> None:
    assert TERMS.due(JOB) == Due(T0 + 180, DueKind.GOAL)


def test_ending__rate_0__is_at_once_and_owes_nothing() -> None:
    one = job(0, 500)
    assert TERMS.ending(one) == Ending(T0, StopReason.RATE_LOWERED)
    assert not TERMS.unrecorded(one, T0 + 10**6)


@pytest.mark.parametrize(
    ("announced", "at", "ends"),
    [
        (0, 300, Ending(T0 + 300, StopReason.RATE_LOWERED)),
        (UNIT - 1, 300, Ending(T0 + 300, StopReason.RATE_LOWERED)),
        (UNIT, 300, Ending(T0 + 1000, StopReason.ESCROW_EXHAUSTED)),  # the card's own rate
        (2 * UNIT, 300, Ending(T0 + 1000, StopReason.ESCROW_EXHAUSTED)),
        (0, 1000, Ending(T0 + 1000, StopReason.ESCROW_EXHAUSTED)),  # dry in the same second
        (0, 5000, Ending(T0 + 1000, StopReason.ESCROW_EXHAUSTED)),
    ],
)
def test_ending__a_notice__counts_from_its_unlock_and_below_the_card(
    announced: int, at: int, ends: Ending
) -> None:
    one = replace(JOB, notice=Notice(Price(announced), T0 + at))
    assert TERMS.ending(one) == ends


def test_ending__card_was_raised_since__a_job_goes_on_at_its_own_rate() -> None:
    dearer = MarketV1Terms({TYPE: Price(9 * UNIT)})
    same = replace(JOB, notice=Notice(Price(UNIT), T0 + 300))
    less = replace(JOB, notice=Notice(Price(UNIT - 1), T0 + 300))
    assert dearer.ending(JOB) == dearer.ending(same) == TERMS.ending(JOB)
    assert dearer.ending(less) == Ending(T0 + 300, StopReason.RATE_LOWERED)


@pytest.mark.parametrize(
    ("card", "taken", "rate", "over"),
    [
        (UNIT, UNIT, UNIT - 1, True),  # lowered below both
        (UNIT, UNIT, UNIT, False),
        (UNIT, 5 * UNIT, UNIT, False),  # still what the card asks
        (UNIT, 5 * UNIT, UNIT - 1, True),
        (9 * UNIT, UNIT, UNIT, False),  # the card was raised since
        (9 * UNIT, UNIT, UNIT - 1, True),
        (0, UNIT, 1, False),  # the card was lowered
        (None, UNIT, UNIT - 1, True),  # the type is not on offer any more
        (None, UNIT, 3 * UNIT, False),
        (UNIT, None, 1, False),  # not taken: vetting refuses it
    ],
)
def test_ending__a_lower_rate_that_holds_already__is_at_once_below_what_it_was_taken_for(
    card: int | None, taken: int | None, rate: int, over: bool
) -> None:
    terms = MarketV1Terms({} if card is None else {TYPE: Price(card)})
    agreed = None if taken is None else Price(taken)
    one = replace(JOB, price=Price(rate), agreed=agreed, settled_until=T0 + 50)
    end = terms.ending(one)
    assert (end == Ending(T0 + 50, StopReason.RATE_LOWERED)) is over
    assert terms.is_over(one, T0 + 50) is over
    if over:
        assert not terms.unrecorded(one, T0 + 900)  # finalizing it settled all that was served


def test_ending__stop_before_dry__is_so_much_earlier() -> None:
    early = MarketV1Terms(stop_before_dry=300)
    assert early.ending(JOB) == Ending(T0 + 700, StopReason.ESCROW_EXHAUSTED)


@pytest.mark.parametrize("late", [0, 1, 7, 299, 300, 5000])
@pytest.mark.parametrize("rate", [UNIT, 3 * UNIT + 1, UNIT // 7])
def test_unrecorded__stopped_before_dry__is_settled_once(rate: int, late: int) -> None:
    early = MarketV1Terms(stop_before_dry=300)
    one = replace(job(rate, 3 * 1000), agreed=Price(rate))
    end = early.ending(one)
    assert end is not None
    now = end.at + late
    assert early.unrecorded(one, now)
    rest = Wei(one.escrow - early.accrued(one, now))
    settled = replace(one, settled_until=now, escrow=rest)
    assert early.is_over(settled, now)
    assert not any(early.unrecorded(settled, now + after) for after in (0, 1, 60, 301, 10**6))
    revived = replace(settled, escrow=Wei(rest + 10**6))
    assert not early.is_over(revived, now)


def test_unrecorded__dry__is_settled_to_the_last_unit_and_then_no_more() -> None:
    assert not TERMS.unrecorded(JOB, T0 + 999)
    assert TERMS.unrecorded(JOB, T0 + 1000)
    settled = replace(JOB, escrow=Wei(0), settled_until=T0 + 1003)
    assert TERMS.is_over(settled, T0 + 1003)
    assert not TERMS.unrecorded(settled, T0 + 5000)


def test_unrecorded__ended_by_notice_and_never_closed__is_settled_once() -> None:
    one = replace(JOB, notice=Notice(Price(0), T0 + 300))
    assert TERMS.unrecorded(one, T0 + 310)
    settled = replace(one, escrow=Wei(690), settled_until=T0 + 310)
    assert not TERMS.unrecorded(settled, T0 + 400)
    assert TERMS.is_over(settled, T0 + 400)


def test_ending__deposit_after_the_settlement__revives_it() -> None:
    dry = replace(JOB, escrow=Wei(0), settled_until=T0 + 1003)
    assert TERMS.is_over(dry, T0 + 2000)
    assert not TERMS.is_over(replace(dry, escrow=Wei(5000)), T0 + 2000)


def test_ending__closed__is_as_it_was_found() -> None:
    closed = replace(
        JOB, status=JobStatus.STOPPED, stop_reason=StopReason.USER_REQUEST, stopped_at=T0 + 5
    )
    assert TERMS.ending(closed) == Ending(T0 + 5, StopReason.USER_REQUEST)
    assert TERMS.accrued(closed, T0 + 500) == 0
    assert not TERMS.unrecorded(closed, T0 + 500)


def test_earned__since__is_only_of_what_is_not_settled() -> None:
    assert TERMS.earned(JOB, T0 + 100, T0 + 40) == 60
    assert TERMS.earned(JOB, T0 + 100) == 100


@pytest.mark.parametrize("behind", [0, 1, 3600])
def test_over__by_a_clock_that_is_behind_the_chain__is_over_all_the_same(behind: int) -> None:
    """Seed 9058: lowered and finalized, it was bought again by a clock an hour slow."""
    terms = MarketV1Terms({JOB.instance_type: JOB.price})
    open_ = replace(JOB, settled_until=T0, escrow=Wei(10**9), notice=None)
    lowered = replace(open_, price=Price(JOB.price.raw - 1), agreed=JOB.price)
    dry = replace(open_, escrow=Wei(0))
    assert terms.is_over(lowered, T0 - behind)
    assert terms.is_over(dry, T0 - behind)
    assert not terms.is_over(open_, T0 - behind)
