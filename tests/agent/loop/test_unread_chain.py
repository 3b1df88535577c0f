"""Nodes that can't be read for a while: what the log says of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from devnet.simulation.world import Simulation, Step
from tests.agent.scripts.play import assigned, at

pytestmark = pytest.mark.unit


def unread(start: float, seconds: float) -> Sequence[Step]:
    def away(simulation: Simulation) -> None:
        simulation.weather.fail("chain.read")

    def back(simulation: Simulation) -> None:
        simulation.weather.fits.clear()

    return [at(start, away), at(start + seconds, back)]


def told(script: Sequence[Step]) -> list[tuple[str, str]]:
    """Level and name of each line that is about the chain."""
    with capture_logs() as lines:
        Simulation().run(script, 300)
    return [
        (line["log_level"], line["event"]) for line in lines if line["event"].startswith("chain.")
    ]


def test_log__backends_that_lag_by_turns__is_no_error() -> None:
    flicker = [step for start in range(20, 200, 9) for step in unread(start, 4)]
    said = told([assigned(), *flicker])
    assert ("info", "chain.unread") in said  # it was so, and is said for whoever looks
    assert {level for level, _ in said} == {"info"}


def test_log__nodes_away_for_long__is_one_error_and_one_end_of_it() -> None:
    said = [line for line in told([assigned(), *unread(15, 60)]) if line[0] != "info"]
    assert said == [("error", "chain.unreadable"), ("warning", "chain.readable")]
