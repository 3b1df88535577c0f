"""A node's logs name as many jobs as it likes: each was read, and looked at again for minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.loop.feeds import MOST_STRANGE
from agent.market.model import JobId
from agent.market.testimony import Listing
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import assigned, at

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

REAL = JobId(10**7)  # above the invented ones: what is read of these are the lowest
FLOOD = frozenset(JobId(10**6 + number) for number in range(2 * MOST_STRANGE))


def by_events(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    simulation.market.touched |= FLOOD


def by_the_other_endpoint(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    assert simulation.witness is not None
    honest = simulation.witness.lists

    async def lists() -> list[Listing]:
        first, *others = await honest()
        return [replace(first, named=FLOOD), *others]

    patch.setattr(simulation.witness, "lists", lists)


@pytest.mark.parametrize("flood", [by_events, by_the_other_endpoint], ids=lambda one: one.__name__)
def test_logs__that_name_thousands_of_jobs_of_nobody__have_few_looked_at_and_hide_none(
    flood: Callable[[Simulation, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(with_witness=True)
    done = simulation.run([at(13, lambda s: flood(s, monkeypatch)), assigned(14, REAL)], 100)
    assert [text for _, text in done][-1] == f"reportStarted job={REAL}"
    assert len(simulation.state.world.memory.jobs) <= MOST_STRANGE + 1
