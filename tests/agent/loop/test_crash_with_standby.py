"""The crash matrix with a second host standing by: the leader is killed, or cut off from the
database, before and after every outside effect, and the other goes on.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

import pytest

from agent.loop.leading import Leadership
from agent.loop.service import Agent
from devnet.simulation.hosts import Server, SimLease
from devnet.simulation.world import MortalJournal, Simulation
from tests.agent.loop.test_crash_matrix import OUTSIDE, STORIES, _slow_listing, check

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


@dataclass
class TwoHosts(Simulation):
    """Both hosts over one journal; `killed` and `cut` strike the one that leads."""

    hosts: dict[str, tuple[Agent, asyncio.Task[None], MortalJournal]] = field(default_factory=dict)

    def start(self, *, lose_journal: bool = False) -> None:
        self.server = Server(self.clock.now)
        for name in ("a", "b"):
            super().start(lose_journal=False)
            lease = SimLease(self.server, name)
            self.state.leadership = Leadership(lease)
            self.state.leadership.break_ = self.agent._break
            self.state.world.lease = lease
            self.journal._lease = lease
            lease.begin(self.state.leadership)
            self.hosts[name] = (self.agent, self.process, self.journal)

    def strike(self, how: str) -> None:
        """The host that acts just now."""
        name = self.server.row.token.partition(":")[0]
        self.server.cut.add(name)
        if how == "killed":
            agent, process, journal = self.hosts[name]
            journal.dead = True
            for task in (process, *agent.tasks()):
                task.cancel()
            raise asyncio.CancelledError


class Strike:
    """Once, at one moment."""

    def __init__(self, when: str, name: str, how: str) -> None:
        self.moment, self.how, self.struck = (when, name), how, False
        self.simulation: TwoHosts | None = None

    def __call__(self, when: str, name: str) -> None:
        if self.struck or (when, name) != self.moment or self.simulation is None:
            return
        self.struck = True
        self.simulation.strike(self.how)


STRIKES = [("before", "killed"), ("after", "cut off")]
if os.environ.get("HYPOTHESIS_PROFILE") == "thorough":  # the other half: a second of CPU each
    STRIKES += [("before", "cut off"), ("after", "killed")]


@pytest.mark.parametrize(("when", "how"), STRIKES)
@pytest.mark.parametrize("name", OUTSIDE)
def test_leader__struck_at_any_effect__the_other_ends_in_the_same_state(
    name: str, when: str, how: str
) -> None:
    strike = Strike(when, name, how)
    steps, until = STORIES["exit" if "Exit" in name else "dry"]
    simulation = TwoHosts(hook=strike, setup=_slow_listing)
    strike.simulation = simulation
    simulation.run(steps(), until)
    assert strike.struck
    assert simulation.server.row.number > 1  # the other led
    check(simulation)
