"""An image that answers this agent alone: auditors' reports are the only sign of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.load.fault_claims import MOST_AUDITORS, REPORTED, FaultClaims
from agent.load.remembered import Memory
from agent.markets.registry.reads import fault_vote
from devnet.simulation.contract import TERMS
from devnet.simulation.protocol import Event
from devnet.simulation.wire.words import REGISTRY_WORDS
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import ONE, assigned, at, clean, machine
from tests.clocks import MovingClock

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

ENDPOINTS = ("http://one", "http://two")
LONG = 1_000_000  # seconds that its escrow lasts


def log(auditor: int, generation: int = 1, job: int = ONE) -> Mapping[str, Any]:
    """As a node has it."""
    topics, data = REGISTRY_WORDS.log(
        Event("FaultReported", (job, f"0xa{auditor:039d}", generation))
    )
    return {"topics": topics, "data": data}


def reports(
    *told: Mapping[str, Any], by: tuple[str, ...] = ENDPOINTS
) -> Callable[[Simulation], None]:
    """These endpoints have these logs, which the agent reads now."""

    def do(simulation: Simulation) -> None:
        world, wake = simulation.state.world, simulation.state.agenda.wake
        claims = FaultClaims(world.memory, fault_vote, world.clock, world.journal.event, wake, 2)
        for source in by:
            claims.heard(source, told)

    return do


def watched_by(quorum: int) -> Simulation:
    def setup(simulation: Simulation) -> None:
        simulation.market.terms_ = replace(TERMS, quorum=quorum)

    return Simulation(setup=setup)


def texts(done: list[tuple[float, str]]) -> list[str]:
    return [text for _, text in done]


def test_report__of_what_answers_here_and_one_more_takes_the_stake__is_restarted_and_left() -> None:
    simulation = watched_by(2)
    script = [assigned(escrow=LONG), at(1000, reports(log(1)))]
    done = simulation.run(script, 6000)
    late = [text for when, text in done if when > 900]
    assert set(late[:2]) == {"requestToExitJob job=1", "order job=1 run=g1a1r1"}
    assert "finalizeExit job=1" in late  # the cool-down passed before another report
    assert simulation.said(1, "job.left").startswith("1 of 2 auditors that a slash takes")
    assert "0xa" in simulation.said(1, REPORTED).lower()
    clean(simulation)


def test_reports__of_three__restart_then_move_and_leave() -> None:
    simulation = watched_by(3)
    script = [
        assigned(escrow=LONG), at(1000, reports(log(1))), at(2000, reports(log(2))),
    ]  # fmt: skip
    done = simulation.run(script, 3000)
    first = [text for when, text in done if 900 < when < 1900]
    then = [text for when, text in done if when > 1900]
    assert first == ["order job=1 run=g1a1r1"]
    assert {"requestToExitJob job=1", "launch job=1 attempt=2"} <= set(then)


def test_report__of_one_endpoint_alone__changes_nothing() -> None:
    simulation = watched_by(2)
    script = [assigned(escrow=LONG), at(1000, reports(log(1), log(2), by=ENDPOINTS[:1]))]
    assert [text for when, text in simulation.run(script, 4000) if when > 900] == []
    assert REPORTED not in simulation.events(1)


@pytest.mark.parametrize("told", [log(1, generation=2), log(1, job=9), {"topics": []}, {}])
def test_report__of_something_else__changes_nothing(told: Mapping[str, Any]) -> None:
    simulation = watched_by(2)
    script = [assigned(escrow=LONG), at(1000, reports(told))]
    assert [text for when, text in simulation.run(script, 4000) if when > 900] == []


def test_report__that_an_outage_seen_here_explains__is_told_and_nothing_more() -> None:
    simulation = watched_by(2)

    def die(simulation: Simulation) -> None:
        machine(simulation).enclave_dies_at = simulation.clock.now()

    script = [assigned(escrow=LONG), at(1000, die), at(1100, reports(log(1)))]
    done = texts(simulation.run(script, 6000))
    assert "order job=1 run=g1a1r1" in done  # as without a report
    assert "requestToExitJob job=1" not in done
    assert REPORTED in simulation.events(1)


@pytest.mark.parametrize("after", [5, 900])
def test_report__of_what_was_explained__stays_so_over_a_restart(after: int) -> None:
    """Else the agent would leave, with the enclave well, for an outage that is long over."""
    simulation = watched_by(2)

    def die(simulation: Simulation) -> None:
        machine(simulation).enclave_dies_at = simulation.clock.now()

    script = [assigned(escrow=LONG), at(1000, die), at(1100, reports(log(1)))]
    restart = at(1200 + after, lambda s: s.restart_in(5))
    done = texts(simulation.run([*script, restart], 6000))
    assert "requestToExitJob job=1" not in done
    assert done.count("order job=1 run=g1a1r1") == 1


def test_reports__one_before_a_restart_and_one_after__both_count() -> None:
    simulation = watched_by(4)
    script = [
        assigned(escrow=LONG), at(1000, reports(log(1))), at(1500, lambda s: s.restart_in(5)),
        at(3000, reports(log(1), log(2), log(3))),
    ]  # fmt: skip
    done = simulation.run(script, 4000)
    assert [when for when, text in done if text == "requestToExitJob job=1"] != []
    assert simulation.said(1, "job.left").startswith("3 of 4 auditors that a slash takes")


def test_report__of_a_job_that_ends_before_an_exit_would__is_no_reason_to_leave() -> None:
    simulation = watched_by(2)
    script = [assigned(escrow=3000), at(1000, reports(log(1)))]
    done = texts(simulation.run(script, 4000))
    assert "requestToExitJob job=1" not in done
    assert "order job=1 run=g1a1r1" in done


def test_claims__of_one_node_without_an_end__are_bounded() -> None:
    memory = Memory()
    memory.job(ONE)
    told: list[object] = []
    claims = FaultClaims(memory, fault_vote, MovingClock(0), told.append, told.append, 2)
    claims.heard("one", [log(number) for number in range(10 * MOST_AUDITORS)])
    claims.heard("two", [log(number) for number in range(10 * MOST_AUDITORS)])
    assert len(memory.job(ONE).reports) == MOST_AUDITORS


def test_claims__a_node_that_invents_auditors__hides_none_that_two_tell_of() -> None:
    memory = Memory()
    memory.job(ONE)
    told: list[object] = []
    claims = FaultClaims(memory, fault_vote, MovingClock(0), told.append, told.append, 3)
    claims.heard("liar", [log(number) for number in range(10 * MOST_AUDITORS)])
    for source in ("one", "two"):
        claims.heard(source, [log(5000)])
    assert [report.auditor.lower() for report in memory.job(ONE).reports] == [f"0xa{5000:039d}"]
