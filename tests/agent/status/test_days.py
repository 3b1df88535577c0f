"""Days and starts: what each day's parts add up to, whatever the jobs were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.load.cost_history import CostHistory
from agent.load.costs import Cost
from agent.market.model import Job, JobStatus, Price, Wei
from agent.status.cockpit import Harm, StartRow
from agent.status.days import DAY, Account, Stint, by_day, gas_days, midnight, stints_of, whole_cost
from agent.status.starts import percentile, starts_of
from tests.agent.samples import JOB, TERMS

pytestmark = pytest.mark.unit

NOW = 1_900_000_000.0
TODAY = midnight(NOW)
MONTH = 30 * DAY
ONE = Price(10**12)  # one base unit a second


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """One that started within the month, stopped or not, settled or not."""
    started = int(NOW) - draw(st.integers(1, 29 * DAY))
    stopped = draw(st.none() | st.integers(started, int(NOW)))
    settled = stopped or draw(st.sampled_from([0, started + (int(NOW) - started) // 2]))
    return replace(
        JOB, price=Price(draw(st.integers(1, 10**13))), assigned_at=started - 5,
        started_at=started, stopped_at=stopped or 0, settled_until=settled,
        status=JobStatus.STOPPED if stopped else JobStatus.RUNNING,
        escrow=Wei(0 if stopped else draw(st.integers(0, 10**9))),
    )  # fmt: skip


@given(st.lists(jobs(), max_size=5))
def test_by_day__any_jobs__all_days_together_are_all_that_was_earned(found: list[Job]) -> None:
    days = by_day(Account(found, TERMS, []), NOW)
    assert [day.start for day in days] == [TODAY - n * DAY for n in range(29, -1, -1)]
    assert sum(day.earned for day in days) == sum(TERMS.earned(job, int(NOW)) for job in found)
    assert all(day.earned >= 0 for day in days)
    today = sum(TERMS.earned(job, int(NOW), since=TODAY) for job in found)
    assert days[-1].earned == today, "the same as the tile says"


@given(st.lists(st.tuples(st.floats(0, MONTH), st.floats(0, MONTH)), max_size=6))
def test_by_day__any_instances__all_days_together_are_what_they_cost(
    spans: list[tuple[float, float]],
) -> None:
    first = TODAY - 29 * DAY
    stints = [Stint(first + min(a, b), first + max(a, b), ONE) for a, b in spans]
    days = by_day(Account([], TERMS, stints), NOW)
    whole = sum(min(each.ended, NOW) - each.begun for each in stints if each.begun < NOW)
    costs = [day.cost for day in days]
    assert None not in costs
    assert sum(cost or 0 for cost in costs) == pytest.approx(whole, abs=31 * len(spans))


def test_by_day__a_cost_that_nobody_knows__leaves_its_days_without_a_margin() -> None:
    stints = [Stint(TODAY - DAY + 10, TODAY + 10, None), Stint(TODAY - 3 * DAY, TODAY - DAY, ONE)]
    days = by_day(Account([], TERMS, stints), NOW)
    assert [(day.cost, day.margin) for day in days[-4:]] == [
        (DAY, -DAY), (DAY, -DAY), (None, None), (None, None),
    ]  # fmt: skip


def test_by_day__harms_gas_and_what_events_told__fall_on_their_days() -> None:
    harms = [Harm(TODAY + 5.0, "missed", 1, ""), Harm(TODAY - 5.0, "slashed", 2, "")]
    account = Account(
        [], TERMS, [], {TODAY: 7}, harms, [(TODAY - 5.0, 100)], {TODAY - DAY: 40, 0: 99}
    )
    before, today = by_day(account, NOW)[-2:]
    assert (before.slashed, before.harms, before.earned, before.gas) == (100, {"slashed": 1}, 40, 0)
    assert (today.slashed, today.harms, today.earned, today.gas) == (0, {"missed": 1}, 0, 7)


def test_cost__several_instances_and_a_change__counts_each_time_at_what_it_cost_then() -> None:
    kind, twice = "us-east-1/c6a.xlarge", Price(2 * 10**12)
    history = CostHistory({kind: [(0.0, Cost(ONE, "x")), (60.0, Cost(twice, "x"))]})
    stints = list(stints_of(kind, [10.0, 40.0], 100.0, history, Cost(None, "")))
    assert [(one.begun, one.ended, one.rate) for one in stints] == [
        (10.0, 40.0, ONE), (40.0, 60.0, ONE), (60.0, 100.0, twice),
    ]  # fmt: skip
    assert (whole_cost(stints, 60.0), whole_cost(stints, 200.0)) == (50, 130)
    unknown = list(stints_of("other", [10.0], 20.0, history, Cost(None, "")))
    assert whole_cost(unknown, 60.0) is None
    assert whole_cost([], 60.0) == 0


def test_gas_days__a_week_and_a_young_journal__go_by_their_own_pace() -> None:
    assert gas_days({TODAY: 10, TODAY - DAY: 30, TODAY - 9 * DAY: 10**9}, 400, NOW) == 20.0
    assert gas_days({}, 400, NOW) is None


@given(st.lists(st.floats(0.1, 900), min_size=1), st.integers(1, 100))
def test_percentile__any_times__is_one_of_them_and_covers_its_share(
    times: list[float], share: int
) -> None:
    found = percentile(sorted(times), share)
    assert found in times
    assert sum(time <= found for time in times) * 100 >= share * len(times)


def test_starts__more_than_ten__keeps_the_slowest_ten() -> None:
    rows = [StartRow(number, float(number), 0.0) for number in range(1, 101)]
    found = starts_of(rows, 3, 120)
    assert (found.count, found.missed, found.p50, found.p99) == (100, 3, 50.0, 99.0)
    assert [row.job for row in found.worst] == list(range(100, 90, -1))
    nothing = starts_of([], 0, 0)
    assert (nothing.p50, nothing.p99, nothing.worst) == (None, None, ())
