"""A loop that breaks ends the process, which is started again; only MustStop ends it for good."""

from __future__ import annotations

import pytest

from devnet.simulation.world import Simulation
from faults import Bug, MustStop
from tests.agent.scripts.play import assigned, at

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("feed", ["fleet.look", "orders", "offers"])
@pytest.mark.parametrize(
    ("broken", "ends"), [(TypeError("x"), Bug), (KeyError("x"), Bug), (MustStop("x"), MustStop)]
)
def test_loop__broken_by_what_nobody_foresaw__is_a_bug_unless_it_must_stop(
    feed: str, broken: Exception, ends: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise broken

    def break_it(simulation: Simulation) -> None:
        state = simulation.state
        if feed == "fleet.look":
            state.world.fleet.look = fail  # type: ignore[method-assign,assignment]  # a bug
        elif feed == "orders":
            state.reader.__class__ = type("Broken", (), {"engine": property(fail)})
        else:
            state.offering.tend = fail  # type: ignore[method-assign,assignment]  # a bug

    simulation = Simulation()
    simulation.run([assigned(1), at(50, break_it)], 400)
    assert type(simulation.process.exception()) is ends


def test_loop__started_again_after_a_bug__serves_on_as_if_nothing_had_been() -> None:
    def fail(*_: object) -> None:
        raise TypeError("an empty <reservationSet></reservationSet>")

    def break_it(simulation: Simulation) -> None:
        simulation.state.world.fleet.look = fail  # type: ignore[method-assign,assignment]  # a bug

    script = [assigned(1), at(1, break_it), at(40, lambda s: s.start())]
    simulation = Simulation()
    done = simulation.run(script, 400)
    assert done[-1][1] == "reportStarted job=1"
    assert [text for _, text in done].count("launch job=1 attempt=1") == 1
