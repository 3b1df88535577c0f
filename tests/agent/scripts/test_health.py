"""Enclaves, hosts and instances that break while they serve, and an observer that is wrong."""

from __future__ import annotations

import pytest

from agent.decide.deadline import DEFAULT_LENGTHS, Stage
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import STARTED, assigned, at, crowd, machine

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_enclave__dead__is_restarted_on_its_host() -> None:
    simulation = Simulation()

    def dies(simulation: Simulation) -> None:
        machine(simulation).enclave_dies_at = simulation.clock.now()

    done = simulation.run([assigned(), at(1000, dies)], 3000)
    assert [text for _, text in done[3:]] == ["order job=1 run=g1a1r1"]
    # Asked every 300 s; four answers missed, 20 s apart.
    assert done[3][0] <= 1000 + 300 + 4 * 20 + 5


def test_restart__beside_running_enclaves__does_not_make_attestation_seem_slow() -> None:
    """They waited for the new process, not for their turn: a dead one would be waited for, too."""
    simulation = Simulation()
    script = [*(assigned(1, job) for job in crowd(4)), at(600, lambda s: s.restart_in(5))]
    simulation.run(script, 1500)
    learnt = simulation.state.world.learner.budget.lengths[Stage.ATTEST]
    assert learnt.usual <= DEFAULT_LENGTHS[Stage.ATTEST].usual


def test_answer__missed_once__is_nothing() -> None:
    simulation = Simulation()
    script = [assigned(), at(400, lambda s: s.weather.fail("attest", times=3))]
    assert simulation.run(script, 3000) == STARTED


def test_host__hung_though_ec2_calls_it_fine__is_replaced() -> None:
    def hangs(simulation: Simulation) -> None:
        machine(simulation).hangs_at = simulation.clock.now()

    simulation = Simulation()
    done = simulation.run([assigned(), at(1000, hangs)], 3000)
    texts = [text for _, text in done[3:]]
    assert texts[0] == "launch job=1 attempt=2"
    assert texts[1] == "order job=1 run=g1a2r0"
    assert texts[2] == "terminate job=1 01"  # only when the new one has proven itself
    assert done[3][0] <= 1000 + 300 + 180
    assert simulation.cloud.live() == 1


def test_instance__gone__is_replaced_and_not_more_often_than_the_back_off_allows() -> None:
    def dies(simulation: Simulation) -> None:
        for one in simulation.cloud.machines.values():
            one.ends_at = min(one.ends_at, simulation.clock.now())

    script = [assigned(), at(1000, dies), at(1100, dies)]
    done = Simulation().run(script, 4000)
    launches = [when for when, text in done if text.startswith("launch")]
    assert launches[1] == pytest.approx(1000, abs=21)
    assert launches[2] >= launches[1] + 600
    assert len(launches) == 3


def test_observer__when_everything_looks_dead__is_doubted_first() -> None:
    jobs = crowd(8)

    def blind(simulation: Simulation) -> None:
        simulation.weather.fail("attest", seconds=250)

    simulation = Simulation()
    done = simulation.run([*(assigned(1, job) for job in jobs), at(1000, blind)], 3000)
    assert len([text for _, text in done if text.startswith("launch")]) == 8
    assert not [text for when, text in done if when > 900]


@pytest.mark.parametrize(("seconds", "gone"), [(550, False), (900, True)])
def test_enclave__that_this_agent_alone_does_not_reach__makes_way_for_another_after_minutes(
    seconds: float, gone: bool
) -> None:
    """There is no room for a second instance, and the first one's host says that it runs."""

    def cut_off(simulation: Simulation) -> None:
        simulation.weather.fail("attest", seconds=seconds)
        simulation.cloud.capacity = 1

    simulation = Simulation()
    done = simulation.run([assigned(), at(1000, cut_off)], 2200)
    assert simulation.said(1, "launch.nowhere")
    restarted = next(when for when, text in done if text == "order job=1 run=g1a1r1")
    ends = [when for when, text in done if text == "terminate job=1 01"]
    assert ends == ([pytest.approx(restarted + 300, abs=21)] if gone else [])


def test_host__hung_and_no_room_for_another__makes_way_at_once() -> None:
    """Its heartbeat has stopped, too: that is nobody's view alone."""

    def hangs(simulation: Simulation) -> None:
        machine(simulation).hangs_at = simulation.clock.now()
        simulation.cloud.capacity = 1

    simulation = Simulation()
    done = simulation.run([assigned(), at(1000, hangs)], 3000)
    texts = [text for _, text in done if text != "deregister"]
    assert texts[3:5] == ["terminate job=1 01", "launch job=1 attempt=2"]
