"""The stages of a start as the status page draws them, while the simulated start goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.market.model import JobId
from agent.status.start_stages import current, stages_of, usual_seconds
from devnet.simulation import loop
from devnet.simulation.world import Simulation

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

ONE = JobId(1)


Seen = dict[float, list[tuple[str, float, float | None]]]


def watched(seconds: list[float]) -> Seen:
    """At each of these seconds: (stage, began, ended), seconds of the simulation."""
    seen: Seen = {}

    def look(second: float) -> Callable[[Simulation], None]:
        def note(simulation: Simulation) -> None:
            world = simulation.state.world
            view, now = current(world.memory.job(ONE), world.fleet), simulation.clock.now()
            assert view is not None
            host = view.hosts[0] if view.hosts else None
            rows = stages_of(view, host, now, world.learner.budget)
            seen[second] = [
                (r.name, r.started_at - loop.START, r.ended_at and r.ended_at - loop.START)
                for r in rows
            ]
            assert (usual_seconds(view, world.learner.budget) > 0) == bool(rows)

        return note

    script = [(1.0, lambda s: s.market.assign(ONE)), *((s, look(s)) for s in seconds)]
    Simulation().run(script, max(seconds) + 1)
    return seen


def test_stages__while_it_comes_up__show_what_goes_on_and_what_is_done() -> None:
    seen = watched([20.0, 45.0, 47.5, 100.0])
    assert [(name, ended is None) for name, _, ended in seen[20.0]] == [
        ("image", True),
        ("launch", True),
    ]
    now = {name: (begun, ended) for name, begun, ended in seen[47.5]}
    assert set(now) == {"image", "launch", "boot", "enclave", "attest", "report"}
    assert now["image"][1] == pytest.approx(22, abs=0.2)
    assert now["launch"][0] == pytest.approx(12, abs=0.2)
    assert now["launch"][1] == now["boot"][0]
    assert now["report"][0] == pytest.approx(46, abs=0.2)
    assert now["report"][1] is None
    assert all(ended is None or begun <= ended for begun, ended in now.values())
    assert seen[100.0] == []
