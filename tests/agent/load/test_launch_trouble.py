"""What keeps instances from coming up: when it counts, when it is over, how long it is held."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.load.launch_trouble import (
    DEATH_HOLD_SECONDS,
    REFUSED_HOLD_SECONDS,
    SURE_SECONDS,
    LaunchTrouble,
)
from agent.market.model import InstanceType
from cloud.model import Region
from tests.agent.samples import HOME, INSTANCE

pytestmark = pytest.mark.unit

KIND = InstanceType(HOME, "c6a.xlarge")
OTHER = InstanceType(HOME, "m6g.large")
DEAD = replace(INSTANCE, state_reason="Client.InternalError: Client error on launch")


def test_refusal__is_of_its_type__until_a_launch_passes() -> None:
    trouble = LaunchTrouble()
    trouble.refused(KIND, "no profile", 100.0)
    found = trouble.of(KIND, 101.0)
    assert found is not None
    assert "no profile" in found.reason
    assert found.sure_at == 100.0 + SURE_SECONDS
    assert trouble.of(OTHER, 101.0) is None
    assert trouble.near(HOME)
    trouble.launched(KIND)
    assert trouble.of(KIND, 102.0) is None
    assert not trouble.near(HOME)


def test_refusal__rehearsal_passes__is_believed_some_time_after_the_last_one() -> None:
    trouble = LaunchTrouble()
    trouble.refused(KIND, "x", 100.0)
    trouble.rehearsed(KIND, 101.0)  # a rehearsal does not see everything
    assert trouble.of(KIND, 101.0) is not None
    trouble.rehearsed(KIND, 100.0 + REFUSED_HOLD_SECONDS)
    assert trouble.of(KIND, 200.0) is None
    trouble.refused(KIND, "x", 300.0)  # and again: waited out twice as long
    trouble.rehearsed(KIND, 300.0 + REFUSED_HOLD_SECONDS)
    assert trouble.of(KIND, 400.0) is not None
    trouble.rehearsed(KIND, 300.0 + 2 * REFUSED_HOLD_SECONDS)
    assert trouble.of(KIND, 500.0) is None


def test_deaths__two_within_minutes__are_the_regions_trouble() -> None:
    trouble = LaunchTrouble()
    trouble.died(DEAD, 100.0)
    assert trouble.of(KIND, 100.0) is None
    trouble.died(DEAD, 160.0)
    for kind in (KIND, OTHER):
        found = trouble.of(kind, 161.0)
        assert found is not None
        assert "Client error on launch" in found.reason
        assert found.sure_at <= 161.0
    assert trouble.of(InstanceType(Region("eu-west-1"), "c6a.xlarge"), 161.0) is None
    assert trouble.of(KIND, 160.0 + DEATH_HOLD_SECONDS) is None
    trouble.died(DEAD, 1000.0)  # the one that tried it out: at once, and twice as long
    assert trouble.of(KIND, 1000.0 + DEATH_HOLD_SECONDS) is not None
    assert trouble.of(KIND, 1000.0 + 2 * DEATH_HOLD_SECONDS) is None
    trouble.proven(HOME)
    trouble.died(DEAD, 5000.0)
    assert trouble.of(KIND, 5000.0) is None


def test_deaths__far_apart__are_chance() -> None:
    trouble = LaunchTrouble()
    for hour in range(10):
        trouble.died(DEAD, hour * 3600.0)
        assert trouble.of(KIND, hour * 3600.0) is None


@given(st.lists(st.tuples(st.sampled_from("rldpx"), st.floats(0.0, 5000.0)), max_size=40))
def test_trouble__whatever_happened__ends_when_nothing_is_launched_any_more(
    steps: list[tuple[str, float]],
) -> None:
    """A type is never off the market for good."""
    trouble, now = LaunchTrouble(), 0.0
    for what, after in steps:
        now += after
        match what:
            case "r":
                trouble.refused(KIND, "x", now)
            case "l":
                trouble.launched(KIND)
            case "d":
                trouble.died(DEAD, now)
            case "p":
                trouble.proven(HOME)
            case _:
                trouble.rehearsed(KIND, now)
    later = now + 7 * 3600.0
    trouble.rehearsed(KIND, later)
    assert trouble.of(KIND, later) is None
