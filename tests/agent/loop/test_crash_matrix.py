"""The process is killed before and after every outside effect of a job's life, and restarted.

The effects are those of the code's own table, so that a new one cannot be forgotten: an action
without an effect, or an effect that no story here reaches, fails a test. However it went, the
end is the same: one instance, one reportStarted, exact money, nothing left.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from agent.apply.actions import EFFECTS
from agent.decide.plan import Action
from agent.journal.orders import OrderKind
from agent.market.model import JobId
from devnet.simulation.world import Simulation, Step

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

ONE = JobId(1)
NAMES = sorted(entry.name for entry in EFFECTS.values())
OUTSIDE = [name for name in NAMES if name != "finish"]  # writes the journal alone
DOWN_SECONDS = 3.0
VISIBLE_SECONDS = 10.0  # EC2 lists an instance later than it launches it, and later than a restart
ESCROW = 3000


class Crash:
    """Kills the agent once, at one moment; counts what it saw."""

    def __init__(self, when: str, name: str, *, lose_journal: bool) -> None:
        self.moment = (when, name)
        self.lose_journal = lose_journal
        self.struck = False
        self.simulation: Simulation | None = None

    def __call__(self, when: str, name: str) -> None:
        if self.struck or (when, name) != self.moment or self.simulation is None:
            return
        self.struck = True
        self.simulation.crash(DOWN_SECONDS, lose_journal=self.lose_journal)


def dry_story() -> list[Step]:
    return [(1.0, lambda s: s.market.assign(ONE, escrow=ESCROW))]


def exit_story() -> list[Step]:
    return [
        (1.0, lambda s: s.market.assign(ONE, escrow=10**6)),
        (300.0, lambda s: s.order(OrderKind.EXIT, 1)),
    ]


STORIES: dict[str, Any] = {"dry": (dry_story, 4500.0), "exit": (exit_story, 5000.0)}


def _slow_listing(simulation: Simulation) -> None:
    simulation.cloud.lengths.visible = VISIBLE_SECONDS


def lived(crash: Crash, story: str) -> Simulation:
    steps, until = STORIES[story]
    simulation = Simulation(hook=crash, setup=_slow_listing)
    crash.simulation = simulation
    simulation.run(steps(), until)
    return simulation


def count(simulation: Simulation, start: str) -> int:
    return sum(text.startswith(start) for _, text in simulation.done)


def check(simulation: Simulation) -> None:
    assert count(simulation, "launch") == 1
    mined = [key for _, key, _ in simulation.market.sent]
    assert sum("reportStarted" in key for key in mined) == 1
    assert len(mined) == len(set(mined))
    assert simulation.market.jobs_[ONE].is_stopped
    assert simulation.market.money_is_exact()
    machines = list(simulation.cloud.machines.values())
    assert all(one.ends_at < float("inf") for one in machines)
    assert simulation.cloud.mail == set()
    assert simulation.cloud.bucket == set()
    assert simulation.images.held == {}


def test_actions__every_one__has_exactly_one_effect() -> None:
    assert set(get_args(Action)) == set(EFFECTS)
    assert len(set(NAMES)) == len(NAMES)


def test_stories__together__reach_every_effect() -> None:
    seen: set[str] = set()

    def note(when: str, name: str) -> None:
        seen.add(name)

    for steps, until in STORIES.values():
        Simulation(hook=note).run(steps(), until)
    assert seen == set(OUTSIDE)


@pytest.mark.parametrize("lose_journal", [False, True], ids=["journal-kept", "journal-lost"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_crash__at_any_effect__ends_in_the_same_state(
    name: str, when: str, lose_journal: bool
) -> None:
    story = "exit" if "Exit" in name else "dry"
    crash = Crash(when, name, lose_journal=lose_journal and story == "dry")
    simulation = lived(crash, story)
    assert crash.struck
    check(simulation)


@pytest.mark.parametrize("second", [11.0, 12.5, 17.0, 21.5, 30.0, 40.0, 46.5, 50.0, 900.0, 3050.0])
def test_crash__at_any_second__ends_in_the_same_state(second: float) -> None:
    simulation = Simulation()
    simulation.run([*dry_story(), (second, lambda s: s.restart_in(5))], 4500)
    check(simulation)
    assert simulation.market.earned == ESCROW
    assert simulation.cloud.bucket == set()


def test_stop__with_sigterm__touches_no_enclave_and_ends_at_once() -> None:
    simulation = Simulation()
    asked: list[float] = []

    def stop(simulation: Simulation) -> None:
        asked.append(simulation.clock.now())
        simulation.agent.stop()
        simulation.process.add_done_callback(lambda task: asked.append(simulation.clock.now()))

    simulation.run([*dry_story(), (500.0, stop)], 600)
    assert asked[1] - asked[0] < 1.0
    assert simulation.cloud.live() == 1
