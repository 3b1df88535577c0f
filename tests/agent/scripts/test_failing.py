"""What fails on for long: tried on, and told once for each try or more and more rarely."""

from __future__ import annotations

import pytest

from agent.load.troubles import OVER_SECONDS, Troubles
from agent.market.model import JobId
from devnet.simulation.world import Simulation
from faults import RetryLater, TryElsewhere
from tests.agent.scripts.play import assigned, at, clean

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


OUTAGE = 400.0
LINES = 3  # at its begin, after one minute and after three


@pytest.mark.parametrize(
    ("where", "line", "fault"),
    [
        ("mailbox.stage", "image.not_staged", RetryLater),
        ("mailbox.write", "host.orders_failed", RetryLater),
        ("cloud.launch", "launch.nowhere", TryElsewhere),
        ("chain.send", "tx.later", RetryLater),
    ],
)
def test_effect__fails_for_minutes__is_tried_on_and_told_more_and_more_rarely(
    where: str, line: str, fault: type[Exception]
) -> None:
    tries = []

    def away() -> Exception:
        tries.append(1)
        return fault("no answer")

    simulation = Simulation(setup=lambda s: s.weather.fail(where, away, seconds=OUTAGE))
    done = simulation.run([assigned()], 590)
    assert "reportStarted job=1" in [what for _, what in done]
    assert len(tries) > OUTAGE / 15
    asked = simulation.events(1).count("launch.asked")
    assert asked == len([what for _, what in done if what.startswith("launch")])
    assert 1 < simulation.events(1).count(line) <= LINES * asked  # each host has orders of its own


def test_end__ec2_takes_no_orders_for_minutes__is_told_once_and_its_failing_rarely() -> None:
    simulation = Simulation()
    away = at(100, lambda s: s.weather.fail("cloud.terminate", seconds=OUTAGE))
    simulation.run([assigned(escrow=200), away], 900)
    events = simulation.events(1)
    assert events.count("instance.terminating") == 1
    assert 1 < events.count("instance.not_terminated") <= LINES + 1
    clean(simulation)


def test_troubles__one_that_was_over_for_a_while__is_told_as_a_new_one() -> None:
    troubles, key = Troubles(), (JobId(1), "image.not_staged")
    told = [troubles.note(key, "x", now) for now in (0.0, 5.0, 59.0, 60.0, 65.0, 179.0, 180.0)]
    assert told == [1, 0, 0, 4, 0, 0, 7]
    assert troubles.note(key, "another", 181.0) == 8
    assert troubles.again(key, 181.0 + OVER_SECONDS - 1)
    assert not troubles.again(key, 181.0 + OVER_SECONDS)
    assert troubles.note(key, "x", 181.0 + OVER_SECONDS) == 1
    assert troubles.note(key, "x", 100.0) == 1, "the clock was set back"


def test_troubles__each_failure_in_other_words__are_few_lines_all_the_same() -> None:
    troubles, told = Troubles(), 0
    for second in range(0, 86400, 5):
        told += bool(troubles.note((1, "tx.later"), f"request {second}", float(second)))
    assert told < 40
