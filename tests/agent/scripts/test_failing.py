"""What fails on for long: tried on, more and more rarely, and told once for each try."""

from __future__ import annotations

import pytest

from devnet.simulation.world import Simulation
from faults import RetryLater
from tests.agent.scripts.play import assigned

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_image__not_to_be_had_for_a_while__is_told_once_for_each_try() -> None:
    tries = []

    def away() -> RetryLater:
        tries.append(1)
        return RetryLater("the host does not resolve")

    simulation = Simulation(setup=lambda s: s.weather.fail("images.fetch", away, seconds=100))
    done = simulation.run([assigned()], 580)
    assert len(tries) > 10, "in the minutes in which it is to be up no pause is longer"
    assert simulation.events(1).count("image.unavailable") == len(tries)
    assert "reportStarted job=1" in [what for _, what in done]
