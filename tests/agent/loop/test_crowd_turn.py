"""Many jobs in one turn: read in parts, judged together; evidence is counted as it comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.job_view import Probe
from agent.decide.keepalive import Answers
from agent.load.answers import Evidence
from agent.market.model import BlockRef, Job, JobId
from cloud.model import InstanceId
from devnet.simulation.market import SimMarket
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import assigned, at, crowd, lies, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

JOBS = crowd(100)


class SlowMarket:
    """Every job that is read takes 50 ms, as a small node's eth_call does."""

    def __init__(self, market: SimMarket) -> None:
        self.jobs_of = market.jobs
        self.clock = market.clock
        self.reads: list[int] = []
        self.asked: list[Sequence[JobId]] = []

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        self.reads.append(len(ids))
        self.asked.append(ids)
        await self.clock.sleep(0.05 * len(ids))
        return await self.jobs_of(ids, at)


def test_crowd__of_a_hundred_in_one_block__is_launched_while_it_is_read() -> None:
    slow: list[SlowMarket] = []

    def setup(simulation: Simulation) -> None:
        slow.append(SlowMarket(simulation.market))
        simulation.market.jobs = slow[0].jobs  # type: ignore[method-assign] # slower, the same

    simulation = Simulation(setup=setup)
    done = simulation.run([assigned(1, job) for job in JOBS], 20)
    launched = [when for when, text in done if text.startswith("launch")]
    assert len(launched) == 100
    assert launched[0] == pytest.approx(12.4, abs=0.1)
    assert launched[-1] == pytest.approx(17, abs=0.3)
    assert [size for size in slow[0].reads if size > 1][:4] == [8, 16, 32, 44]


def test_restart__what_has_to_be_done__is_read_before_the_calm_ones() -> None:
    """Job 77 is without an instance and job 101 is new; all others run."""
    slow: list[SlowMarket] = []
    new = JobId(101)

    def start(simulation: Simulation) -> None:
        slow.append(SlowMarket(simulation.market))
        simulation.market.jobs = slow[0].jobs  # type: ignore[method-assign] # tells what it is asked
        simulation.start()

    def lose(simulation: Simulation) -> None:
        simulation.kill()
        machines = simulation.cloud.machines.values()
        lost = next(one for one in machines if one.order.identity.job == 77)
        lost.ends_at = lost.fails_at = simulation.clock.now()

    script = [
        *(assigned(1, job) for job in JOBS),
        at(900, lose),
        assigned(1000, new),
        at(1100, start),
    ]
    Simulation().run(script, 1130)
    crowded = next(ids for ids in slow[0].asked if len(ids) > 1)
    assert set(crowded[:2]) == {77, new}


def test_mass_of_ends__read_in_parts__is_held_as_a_whole() -> None:
    simulation = Simulation()
    done = simulation.run([*(assigned(1, job) for job in JOBS), (1000.0, lies)], 2500)
    assert not [text for _, text in done if text.startswith("terminate")]


def test_jobs__that_end_while_their_turn_reads_on__are_no_more_remembered() -> None:
    """As new ones they would have every region looked at each second, until the next resync."""

    def setup(simulation: Simulation) -> None:
        simulation.market.jobs = SlowMarket(simulation.market).jobs  # type: ignore[method-assign] # slower, the same

    def wake_all(simulation: Simulation) -> None:
        simulation.state.agenda.wake(list(simulation.state.world.memory.jobs))

    simulation = Simulation(setup=setup)
    stops = [stopped(1000, job) for job in JOBS[:3]]
    turns = [at(second, wake_all) for second in range(1000, 1200)]
    simulation.run([*(assigned(1, job) for job in JOBS), *stops, *turns], 1250)
    assert all(simulation.events(job)[-1] == "job.ended" for job in JOBS[:3])
    assert set(simulation.state.world.memory.jobs) == set(JOBS[3:])


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 50), st.integers(0, 2), st.booleans()),
        max_size=40,
    )
)
def test_evidence__however_answers_come__counts_as_a_scan_would(
    answers: list[tuple[int, float, int, bool]],
) -> None:
    evidence, probes = Evidence(), dict[InstanceId, Probe]()
    for second, (number, _, failures, passed) in enumerate(answers):
        name = InstanceId(f"i-{number}")
        probe = Probe(asked_at=float(second), passed_at=1.0 if passed else None, failures=failures)
        probes[name] = probe
        evidence.note(name, probe)
    for since in (0.0, len(answers) / 2):
        asked = [p for p in probes.values() if p.asked_at is not None and p.asked_at >= since]
        ill = sum(p.failures > 0 and p.passed_at is not None for p in asked)
        assert evidence.since(since) == Answers(len(asked), ill)
