"""Launches that EC2 refuses for our own set-up, instances that die at once, machines that leave."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.decide.plan import Level
from agent.journal.reading import Reader
from cloud.kinds import OutcomeUnknown
from cloud.model import ScheduledEvent
from devnet.simulation import loop
from devnet.simulation.contract import TERMS
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import BOUGHT, ONE, assigned, at, clean, machine, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

WORDS = "Client.InternalError: Client error on launch"
WINDOW = TERMS.job_bootstrapping


def refusing(simulation: Simulation) -> None:
    simulation.cloud.refuses = "AWS answered InvalidParameterValue"


def mended(simulation: Simulation) -> None:
    simulation.cloud.refuses = ""


def dying(simulation: Simulation) -> None:
    simulation.cloud.dies_after, simulation.cloud.dies_of = 0.5, WORDS


def texts(done: list[tuple[float, str]]) -> list[str]:
    return [text for _, text in done]


def lines(simulation: Simulation, name: str) -> list[str]:
    found = Reader(simulation.engine).timeline(ONE)
    return [event.text for event in found if event.name == name]


def test_launch__refused_for_our_set_up_for_a_while__is_made_all_the_same() -> None:
    simulation = Simulation(setup=refusing)
    done = simulation.run([assigned(), at(40, mended)], 200)
    assert "requestToExitJob job=1" not in texts(done)
    launched = next(when for when, text in done if text == "launch job=1 attempt=1")
    assert 40 <= launched <= 46  # within the pause between two tries
    assert "reportStarted job=1" in texts(done)
    assert len(lines(simulation, "launch.blocked")) == 1  # once, though tried many times
    assert len(lines(simulation, "launch.asked")) == 1
    (told,) = [e for e in Reader(simulation.engine).timeline(ONE) if e.name == "launch.blocked"]
    assert told.level == Level.ERROR


def test_launch__refused_for_ever__is_left_when_nothing_can_come_up_in_time() -> None:
    simulation = Simulation(setup=refusing)
    done = simulation.run([assigned()], WINDOW + 60)
    asked = next(when for when, text in done if text == "requestToExitJob job=1")
    assert 12 < asked < 12 + WINDOW
    assert not [text for text in texts(done) if text.startswith("launch")]


def test_offer__launches_refused__goes_soon_and_comes_back_when_that_is_over() -> None:
    simulation = Simulation(setup=refusing)
    done = simulation.run([assigned(), at(200, mended)], 2000)
    gone = next(when for when, text in done if text == "deregister")
    back = next(when for when, text in done if text == "register")
    assert gone <= 60
    assert 200 + (200 - gone) <= back <= 600  # as long as it lasted: it is no want of room


def test_offer__launches_refused_again_and_again__comes_back_later_each_time() -> None:
    script = [at(100, refusing)]
    for begins in (2000, 4000, 6000, 8000, 10_000):
        script += [at(begins - 1800, mended), at(begins, refusing)]
    simulation = Simulation()
    done = simulation.run(script, 9900)
    gone = [when for when, text in done if text == "deregister"]
    back = [when for when, text in done if text == "register"]
    waits = [came - went for went, came in zip(gone, back, strict=True)]
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


def test_offer__launches_not_answered__goes_though_the_region_is_seen() -> None:
    def mute(simulation: Simulation) -> None:
        for where in ("cloud.launch", "cloud.rehearse"):
            simulation.weather.fail(where, lambda: OutcomeUnknown("no answer from AWS"))

    def speaks(simulation: Simulation) -> None:
        simulation.weather.fits.clear()

    done = Simulation(setup=mute).run([assigned(), at(300, speaks)], 2000)
    gone = next(when for when, text in done if text == "deregister")
    assert gone <= 60
    assert 500 < next(when for when, text in done if text == "register") < 900
    assert "reportStarted job=1" in texts(done)


def test_offer__the_role_deleted_and_no_job_about__goes_within_a_minute() -> None:
    simulation = Simulation()
    done = simulation.run([at(100, refusing), at(300, mended)], 2000)
    assert texts(done) == ["deregister", "register"]
    assert done[0][0] <= 160
    assert done[1][0] > 300


def test_offer__a_refusal_of_some_seconds__stays() -> None:
    script = [assigned(), at(10, refusing), at(20, mended), stopped(500)]
    done = Simulation().run(script, 900)
    assert "deregister" not in texts(done)


def test_instances__that_die_at_once__are_spread_over_the_window_and_told_in_ec2s_words() -> None:
    simulation = Simulation(setup=dying)
    done = simulation.run([assigned()], WINDOW + 60)
    launches = [when for when, text in done if text.startswith("launch")]
    assert len(launches) == simulation.rules.lifecycle.bootstrap.max_attempts
    assert launches[-1] - launches[0] > WINDOW / 4
    pauses = [later - one for one, later in pairwise(launches[1:])]
    assert min(pauses) > 5
    assert len(lines(simulation, "instance.died")) == len(launches)
    assert all(WORDS in text for text in lines(simulation, "instance.died"))
    asked = next(when for when, text in done if text == "requestToExitJob job=1")
    assert launches[-1] < asked < WINDOW - 10  # then, and not at the slash point


def test_instances__whose_image_kills_them__are_launched_from_another_and_reported() -> None:
    def bad_image(simulation: Simulation) -> None:
        dying(simulation)
        simulation.cloud.survives = lambda order: order.detour.images > 0

    simulation = Simulation(setup=bad_image)
    done = simulation.run([assigned()], WINDOW + 60)
    launches = [text for _, text in done if text.startswith("launch")]
    assert len(launches) == 3
    assert "reportStarted job=1" in texts(done)
    assert "requestToExitJob job=1" not in texts(done)


def test_instances__whose_disks_key_kills_them__are_launched_under_awss_own_at_once() -> None:
    def bad_key(simulation: Simulation) -> None:
        dying(simulation)
        simulation.cloud.survives = lambda order: order.detour.aws_key

    simulation = Simulation(setup=bad_key)
    done = simulation.run([assigned()], 200)
    launches = [when for when, text in done if text.startswith("launch")]
    assert len(launches) == 2
    assert launches[1] - launches[0] < 10
    assert "reportStarted job=1" in texts(done)


def test_offer__two_instances_died_at_once__goes_at_once_and_is_tried_again_later() -> None:
    simulation = Simulation(setup=dying)
    done = simulation.run([assigned()], 3000)
    launches = [when for when, text in done if text.startswith("launch")]
    gone = next(when for when, text in done if text == "deregister")
    back = next(when for when, text in done if text == "register")
    assert launches[1] <= gone <= launches[1] + 15  # a round of its own, not the next probe's
    assert back >= launches[-1] + 600


def test_instances__that_die_once__are_replaced_at_once() -> None:
    def heals(simulation: Simulation) -> None:
        simulation.cloud.dies_after = float("inf")

    simulation = Simulation(setup=dying)
    done = simulation.run([assigned(), at(12.3, heals)], 200)
    launches = [when for when, text in done if text.startswith("launch")]
    assert len(launches) == 2
    assert launches[1] - launches[0] < 10
    assert "reportStarted job=1" in texts(done)


def test_offer__region_that_is_not_seen__goes_and_comes_back() -> None:
    def away(simulation: Simulation) -> None:
        for name in ("mailbox.reports", "cloud.list"):
            simulation.weather.fail(name)

    def again(simulation: Simulation) -> None:
        simulation.weather.fits.clear()

    done = Simulation().run([at(100, away), at(600, again)], 2500)
    assert texts(done) == ["deregister", "register"]
    assert 180 <= done[0][0] <= 100 + 90 + 60
    assert 600 + 400 < done[1][0] < 1200  # as long as it was away


RETIRES = ScheduledEvent("instance-retirement", loop.START + 3000, "degraded hardware")


def retire(simulation: Simulation) -> None:
    machine(simulation).events = (RETIRES,)


def test_event__machine_that_will_be_taken_away__is_replaced_beside_and_then_ended() -> None:
    done = Simulation().run([assigned(), at(1000, retire), stopped(4000)], 5000)
    found = texts(done)
    assert found.index("launch job=1 attempt=2") < found.index("terminate job=1 01")
    moved = next(when for when, text in done if text == "terminate job=1 01")
    assert 1000 < moved < 1200


def test_event__after_the_job_s_own_end__moves_nothing() -> None:
    simulation = Simulation()
    late = replace(RETIRES, at=loop.START + 10**9)
    step = at(1000, lambda s: setattr(machine(s), "events", (late,)))
    done = simulation.run([assigned(1, ONE, escrow=10**5), step, stopped(3000)], 4000)
    assert "launch job=1 attempt=2" not in texts(done)


def test_event__a_reboot__moves_nothing() -> None:
    reboot = ScheduledEvent("instance-reboot", loop.START + 2000)
    step = at(1000, lambda s: setattr(machine(s), "events", (reboot,)))
    done = Simulation().run([assigned(), step, stopped(3000)], 4000)
    assert "launch job=1 attempt=2" not in texts(done)


@pytest.mark.parametrize("name", ["unhealthy_at", "stops_at"])
def test_machine__impaired_or_stopped__is_replaced_and_ended(name: str) -> None:
    step = at(1000, lambda s: setattr(machine(s), name, loop.START + 1000))
    simulation = Simulation()
    done = simulation.run([assigned(), step, stopped(4000)], 5000)
    found = texts(done)
    assert found[: len(BOUGHT)] == texts(BOUGHT)
    bought = next(when for when, text in done if text == "launch job=1 attempt=2")
    assert bought < 1000 + simulation.rules.lifecycle.health.impaired_seconds + 60
    assert found.index("launch job=1 attempt=2") < found.index("terminate job=1 01")
    clean(simulation)
