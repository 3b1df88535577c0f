"""A machine's clock that is an hour off, for most of a run: AWS's answers say what time it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from devnet.simulation.people import requests
from devnet.simulation.scenario import Scenario, scenario
from devnet.simulation.storm import Storm, quiet
from devnet.simulation.storm_troubles import Kind, Plan, Trouble, draw, draw_wire
from devnet.simulation.watch import MISSED, Violation

pytestmark = pytest.mark.integration

BEGINS, ENDS, HOUR = 100.0, 900.0, 3600.0  # seconds: jobs come before it, in it and after it


def drawn(far: float) -> int:
    """The size of a trouble by which the clock jumps so far."""
    for size in range(1, 10_000):
        rng = Random(size)
        by = rng.choice([2.0, 15.0, 25.0, 600.0, 3600.0])
        if rng.choice([-by, by]) == far:
            return size
    raise AssertionError(f"no size has the clock jump by {far} s")


def market(far: float, *, told: bool, wire: bool = False) -> Scenario:
    jumps = (Trouble(Kind.CLOCK_JUMPS, BEGINS, ENDS, drawn(far)),)
    what = replace(scenario(77, 8, wire=wire), witness=True, others_price=10**13, depth=6)
    people = tuple(requests(77, 8, within=500.0))
    plan = Plan(77, jumps, gentle=True, told_time=told)
    return replace(what, requests=people, block_seconds=6.0, latency=0.05, plan=plan)


def play(what: Scenario) -> tuple[Storm, Sequence[Violation]]:
    quiet()
    storm = Storm(what)
    return storm, storm.run().violations


@pytest.mark.parametrize("wire", [False, True], ids=["plain", "wire"])
@pytest.mark.parametrize("far", [-HOUR, -600.0, 25.0, 600.0, HOUR])
def test_storm__the_clock_is_far_off_and_aws_tells_the_time__nothing_is_missed_or_ended(
    far: float, wire: bool
) -> None:
    storm, violations = play(market(far, told=True, wire=wire))
    assert not violations
    assert storm.watch.judged["started"] == 8
    assert not storm.watch.judged["instances ended by a wrong clock"]


def test_storm__the_clock_is_far_ahead_and_nobody_tells_the_time__jobs_are_missed() -> None:
    what = market(HOUR, told=False)
    blamed = replace(what, plan=replace(what.plan, told_time=True))  # as if AWS had told it

    def deaf(storm: Storm) -> None:
        storm.what = what

    quiet()
    storm = Storm(blamed, tamper=deaf)
    assert MISSED in {one.name for one in storm.run().violations}


def test_plan__of_half_of_the_seeds__has_aws_tell_the_time() -> None:
    told = [draw(seed, length=1000.0, witness=True).told_time for seed in range(100)]
    assert 30 < sum(told) < 70
    assert told == [draw_wire(s, length=1000.0, witness=True).told_time for s in range(100)]
