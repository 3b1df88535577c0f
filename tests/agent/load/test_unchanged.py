"""Calm jobs: looked at without a read, and read again for whatever asks for anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from agent.agenda import Agenda
from agent.decide.lifecycle import LifecycleRules
from agent.load.remembered import JobMemory
from agent.load.unchanged import quiet
from agent.market.model import BlockRef, Job
from agent.market.model import JobId as Id
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import ONE, assigned

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

HOUR = 3600.0


def counted(reads: list[float]) -> Callable[[Simulation], None]:
    def setup(simulation: Simulation) -> None:
        market, read = simulation.market, simulation.market.jobs

        async def jobs(ids: Sequence[Id], at: BlockRef) -> Mapping[Id, Job]:
            reads.append(market.clock.now())
            return await read(ids, at)

        market.jobs = jobs  # type: ignore[method-assign] # counted, the same

    return setup


def test_calm_job__for_an_hour__is_read_for_questions_and_resyncs_alone() -> None:
    reads = list[float]()
    Simulation(setup=counted(reads)).run([assigned()], 2 * HOUR)
    second = [at for at in reads if at - reads[0] > HOUR]
    assert 22 <= len(second) <= 26  # one of each in 300 s


def agent_of(simulation: Simulation) -> tuple[JobMemory, Callable[..., object]]:
    state = simulation.state
    known = state.world.memory.job(ONE)

    def judged(later: float = 1.0, *, unread: float = 300.0, drained: bool = False) -> object:
        now = known.read_at + later
        return quiet(
            known, state.loader, LifecycleRules(), now, drained=drained, unread_seconds=unread
        )

    return known, judged


def test_quiet__what_was_said_read_long_ago_or_ordered__is_read() -> None:
    simulation = Simulation()
    simulation.run([assigned()], 500)
    known, judged = agent_of(simulation)
    assert judged() is not None
    assert judged(301.0) is None
    assert judged(-1.0) is None
    assert judged(drained=True) is None
    known.said = {"job.ill": ("once",)}
    assert judged() is None
    known.said, known.stage = {}, "ill"
    assert judged() is None


def test_quiet__an_enclave_to_be_asked__is_read() -> None:
    simulation = Simulation()
    simulation.run([assigned()], 500)
    _, judged = agent_of(simulation)
    assert judged(400.0, unread=500.0) is None


def test_agenda__due__leaves_what_was_woken_to_take() -> None:
    agenda = Agenda()
    for job, at in ((1, 5.0), (2, 6.0), (3, 50.0)):
        agenda.put_off(Id(job), at)
    agenda.wake([Id(2)])
    assert agenda.due(10.0) == [1]
    assert agenda.take(10.0) == [2]
    assert agenda.due(60.0) == [3]
    assert agenda.take(60.0) == []
