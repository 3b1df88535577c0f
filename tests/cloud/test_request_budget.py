"""The request budget: never above its rate, the most urgent first, slower when AWS refuses."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.model import Region
from cloud.request_budget import SLOWEST, Bucket, Budget, Limit, TooLate, Urgency
from tests.cloud.conftest import FakeClock

pytestmark = pytest.mark.unit

HERE, THERE = Region("us-east-1"), Region("eu-west-1")
SMALL = {"RunInstances": Limit(2, 1), "Describe": Limit(2, 1), "Change": Limit(2, 1)}


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_bucket__any_arrivals__never_above_burst_and_rate(gaps: list[float]) -> None:
    now, taken = 0.0, 0
    bucket = Bucket(Limit(5, 2), now)
    for gap in gaps:
        now += gap
        if bucket.wait(now) == 0:
            bucket.take(now)
            taken += 1
    assert taken <= 5 + 2 * now + 0.01


@given(st.integers(0, 40))
def test_bucket__refused_often__slows_down_but_never_stops(times: int) -> None:
    bucket = Bucket(Limit(5, 2), 0.0)
    for _ in range(times):
        bucket.refused(0.0)
    assert bucket.wait(0.0) <= 1 / (2 * SLOWEST) + 1e-6
    assert (bucket.wait(0.0) > 0) == (times > 0)


def test_bucket__no_more_refusals__comes_back_to_its_rate() -> None:
    bucket = Bucket(Limit(1, 1), 0.0)
    bucket.refused(0.0)
    now = 0.0
    for _ in range(20):
        now += bucket.wait(now)
        bucket.take(now)
    assert bucket.wait(now) == pytest.approx(1.0, abs=0.01)


async def test_turn__queue__closest_deadline_first_then_arrival() -> None:
    clock = FakeClock()
    budget, order = Budget(clock, SMALL), []

    async def ask(name: str, deadline: float) -> None:
        await budget.turn(HERE, "RunInstances", Urgency(deadline))
        order.append(name)

    await ask("first", 9)
    await ask("second", 9)
    waiting = [("late", 50.0), ("soon", 10.0), ("late too", 50.0), ("now", 1.0)]
    await asyncio.gather(*(ask(*one) for one in waiting))
    assert order == ["first", "second", "now", "soon", "late", "late too"]


async def test_turn__caller_gave_up__costs_no_token_and_blocks_nobody() -> None:
    clock = FakeClock()
    budget = Budget(clock, SMALL)
    for _ in range(2):
        await budget.turn(HERE, "RunInstances")
    gone = asyncio.create_task(budget.turn(HERE, "RunInstances"))
    await asyncio.sleep(0)
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    started = clock.now()
    await budget.turn(HERE, "RunInstances", Urgency(1))
    assert clock.now() - started <= 1.001


async def test_turn__in_vain_by_then__is_sent_away_and_costs_no_token() -> None:
    clock = FakeClock()
    budget, served = Budget(clock, SMALL), []

    async def ask(name: str, deadline: float, latest: float) -> None:
        try:
            await budget.turn(HERE, "RunInstances", Urgency(deadline, latest))
        except TooLate:
            return
        served.append((name, clock.now() - begun))

    begun = clock.now()
    with pytest.raises(TooLate):
        await budget.turn(HERE, "RunInstances", Urgency(begun, begun))
    urgent = [(f"urgent {n}", begun + 10, begun + 2.5) for n in range(9)]
    await asyncio.gather(*(ask(*one) for one in [*urgent, ("patient", begun + 99, begun + 90)]))
    # Two of the burst, two a second apart before 2.5; the next token is the patient one's.
    assert [name for name, _ in served] == [*(f"urgent {n}" for n in range(4)), "patient"]
    assert served[-1][1] == pytest.approx(3.0, abs=0.01)


async def test_turn__wanted_no_more_when_it_comes__is_sent_away_and_costs_no_token() -> None:
    clock = FakeClock()
    budget, begun = Budget(clock, SMALL), clock.now()
    for _ in range(2):
        await budget.turn(HERE, "RunInstances")
    needless = [Urgency(n, wanted=lambda: False) for n in range(5)]
    turns = [budget.turn(HERE, "RunInstances", one) for one in (*needless, Urgency(9))]
    with pytest.raises(TooLate):  # nobody waits there, and it is sent away all the same
        await budget.turn(THERE, "RunInstances", Urgency(wanted=lambda: False))
    *sent_away, served = await asyncio.gather(*turns, return_exceptions=True)
    assert [type(one) for one in sent_away] == [TooLate] * 5
    assert served is None
    assert clock.now() - begun == pytest.approx(1.0, abs=0.01)


async def test_turn__other_region_or_call__has_a_bucket_of_its_own() -> None:
    clock = FakeClock()
    budget = Budget(clock, SMALL)
    for region in (HERE, THERE):
        for call in ("RunInstances", "DescribeInstances", "TerminateInstances"):
            for _ in range(2):
                await budget.turn(region, call)
    assert clock.slept == []


async def test_turn__a_bug_in_serving__is_the_answer_of_all_who_wait_and_the_next_are_served() -> (
    None
):
    def broken() -> bool:
        raise ZeroDivisionError("a bug")

    budget = Budget(FakeClock(), SMALL)
    for _ in range(2):
        await budget.turn(HERE, "RunInstances")
    urgencies = [Urgency(1.0, wanted=broken), Urgency(2.0), Urgency(3.0)]
    turns = (budget.turn(HERE, "RunInstances", one) for one in urgencies)
    ends = await asyncio.wait_for(asyncio.gather(*turns, return_exceptions=True), 5)
    assert [type(end) for end in ends] == [RuntimeError] * 3
    assert all("a bug" in str(end) for end in ends)
    await asyncio.wait_for(budget.turn(HERE, "RunInstances"), 5)


async def test_turn__the_serving_task_is_cancelled__leaves_nobody_waiting() -> None:
    budget = Budget(FakeClock(), SMALL)
    for _ in range(2):
        await budget.turn(HERE, "RunInstances")
    waiting = asyncio.create_task(budget.turn(HERE, "RunInstances"))
    await asyncio.sleep(0)
    serving = budget._queue(HERE, "RunInstances")._serving
    assert serving is not None
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
