"""Each second that a job pays for is counted once, in whatever order its two tellers are heard."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.history.earned import PATIENCE_SECONDS, Earned
from agent.history.earnings import Earnings
from agent.market.model import Job, JobId, JobStatus, Price, Wei
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.history.test_earnings import DAY, settled
from tests.agent.samples import JOB, TERMS, US
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

T0 = 20_000 * DAY + DAY - 300  # a midnight is among what follows
RATE = Price(3 * 10**12)  # three base units a second, so that nothing is rounded
MARKET = MarketV1Terms()
OPENED = replace(
    JOB, id=JobId(0), status=JobStatus.RUNNING, price=RATE, escrow=Wei(10**9),
    assigned_at=T0, started_at=T0, settled_until=T0,
)  # fmt: skip


def heard() -> Earned:
    return Earned(Earnings(US, {JobId(0)}, StandingClock(5.0), lambda event: None))


def tell(earned: Earned, at: int, amount: int) -> None:
    assert earned.told is not None
    earned.told.jobs_in([settled(0, amount, at, f"0x{at:x}")])


def after(job: Job, at: int) -> Job:
    """As a settlement at that second leaves it."""
    return replace(job, escrow=Wei(job.escrow - MARKET.accrued(job, at)), settled_until=at)


steps = st.lists(
    st.tuples(st.integers(1, 90), st.integers(0, 9), st.integers(0, 9)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(steps, st.integers(100, 5000))
def test_earned__job_and_event_heard_at_other_seconds__is_what_it_came_to(
    story: list[tuple[int, int, int]], escrow: int
) -> None:
    """Each settlement comes some seconds after the one before; its event and the job's next reading
    each some seconds later. At every second in between the figure is the truth, also of a job that
    runs dry, and never falls."""
    earned, chain = heard(), replace(OPENED, escrow=Wei(escrow))
    ends = list(accumulate((10 + step[0] for step in story), initial=T0))
    heads, events = {T0: chain}, dict[int, tuple[int, int]]()
    for (_, end), (_, head_late, event_late) in zip(pairwise(ends), story, strict=True):
        events[end + event_late] = (end, MARKET.accrued(chain, end))
        heads[end + head_late] = chain = after(chain, end)
    head, shown = OPENED, []
    for now in range(T0, ends[-1] + 20):
        if now in events:
            tell(earned, *events[now])
        head = heads.get(now, head)
        shown.append(earned.of(head, MARKET, now))
        assert shown[-1] == min(3 * (now - T0), escrow)
        bases, days = earned.by_day([head], now)
        assert sum(MARKET.earned(one, now) for one in bases) + sum(days.values()) == shown[-1]
    assert shown == sorted(shown)


def test_earned__since_midnight__is_the_part_of_the_day() -> None:
    earned, midnight, now = heard(), T0 + 300, T0 + 400
    earned.of(OPENED, MARKET, T0)
    tell(earned, T0 + 350, 1050)  # of a job that was not read again since
    settled_today = earned.told.since(midnight) if earned.told else 0
    assert settled_today + earned.beside(OPENED, MARKET, now, since=midnight) == 300


def test_earned__an_event_that_never_comes__is_not_waited_for_longer_than_a_minute() -> None:
    earned, settled_job = heard(), after(OPENED, T0 + 100)
    earned.of(OPENED, MARKET, T0)
    waits = T0 + 110
    assert earned.of(settled_job, MARKET, waits) == 330
    assert earned.of(settled_job, MARKET, waits + PATIENCE_SECONDS + 1) == 3 * 71
    tell(earned, T0 + 100, 300)
    assert earned.of(settled_job, MARKET, T0 + 200) == 600


def test_earned__closed__is_what_was_settled_once_that_is_told() -> None:
    earned = heard()
    earned.of(OPENED, MARKET, T0)
    closed = replace(OPENED, status=JobStatus.STOPPED, escrow=Wei(0), stopped_at=T0)
    assert earned.of(closed, MARKET, T0 + 12) == 36, "its last event is on the way"
    tell(earned, T0 + 10, 30)
    assert [earned.of(closed, MARKET, T0 + at) for at in (13, 9999)] == [30, 30]


def test_earned__a_settlement_of_nothing__moves_the_job_s_time_and_is_no_money() -> None:
    earned, dry = heard(), replace(OPENED, escrow=Wei(0))
    earned.of(dry, MARKET, T0)
    tell(earned, T0 + 50, 0)
    paid_again = replace(dry, settled_until=T0 + 50, escrow=Wei(900))
    assert earned.of(paid_again, MARKET, T0 + 60) == 30


def test_earned__where_jobs_keep_their_sums__is_the_market_s_own() -> None:
    assert Earned(None).of(JOB, TERMS, T0) == TERMS.earned(JOB, T0)
    assert Earned(None).by_day([JOB], T0) == ([JOB], {})
