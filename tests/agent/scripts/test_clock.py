"""A wall clock that is set, forwards or back, while the agent runs: nothing is lost by it."""

from __future__ import annotations

import pytest

from devnet.simulation.world import Simulation, Step
from tests.agent.scripts.play import assigned, at, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

HOUR = 3600.0


def skew(second: float, seconds: float) -> Step:
    return at(second, lambda simulation: setattr(simulation.agent_clock, "skew_seconds", seconds))


def texts(done: list[tuple[float, str]]) -> list[str]:
    return [text for _, text in done]


def test_clock__an_hour_ahead_at_the_assignment__leaves_no_job() -> None:
    done = Simulation().run([skew(5, HOUR), assigned(), skew(200, 0.0)], 900)
    assert "requestToExitJob job=1" not in texts(done)
    assert done[-1][1] == "reportStarted job=1"


def test_clock__a_minute_behind_at_the_assignment__buys_at_once_all_the_same() -> None:
    done = Simulation().run([skew(5, -60.0), assigned()], 30)
    assert done[0] == (12.0, "launch job=1 attempt=1")


def test_clock__ahead_while_a_job_comes_up__has_it_reported_all_the_same() -> None:
    done = Simulation().run([assigned(), skew(30, HOUR)], 200)
    assert done[-1][1] == "reportStarted job=1"


def test_clock__set_forward_before_the_first_listing__buys_nothing_twice() -> None:
    def unlisted(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 25.0

    script = [skew(5, -HOUR), assigned(), skew(24, 0.0)]
    done = Simulation(setup=unlisted).run(script, 300)
    assert [text for text in texts(done) if text.startswith("launch")] == ["launch job=1 attempt=1"]


def test_clock__set_back_while_an_end_is_waited_for__ends_it_within_a_minute() -> None:
    script = [assigned(), skew(1000, HOUR), stopped(1010), skew(1030, 0.0)]
    done = Simulation().run(script, 1400)
    ended = [when for when, text in done if text.startswith("terminate")]
    assert len(ended) == 1
    assert ended[0] < 1010 + 12 * 6 + 60
