"""Timed scripts: (second, what happens) in, the exact list of (second, what was done) out.

The agent's own code under a virtual clock; blocks every 12 s, five of them to finality, published
cold starts. Days of protocol time take milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.market.model import JobId
from devnet.simulation.machine import Machine
from devnet.simulation.world import Simulation, Step

ONE = JobId(1)
BOUGHT = [(12.0, "launch job=1 attempt=1"), (22.0, "order job=1 run=g1a1r0")]
STARTED = [*BOUGHT, (46.0, "reportStarted job=1")]


def at(second: float, happens: Callable[[Simulation], object]) -> Step:
    """A step of a script."""

    def do(simulation: Simulation) -> None:
        happens(simulation)

    return (second, do)


def crowd(count: int) -> list[JobId]:
    """As many jobs, numbered from 1."""
    return [JobId(number) for number in range(1, count + 1)]


def assigned(second: float = 1, job: JobId = ONE, **more: Any) -> Step:
    """The market assigns `job` to this provider; `more` is what `Market.assign` takes."""
    return at(second, lambda s: s.market.assign(job, **more))


def stopped(second: float, job: JobId = ONE) -> Step:
    """The user of `job` stops it."""
    return at(second, lambda s: s.market.stop_by_user(job))


def machine(simulation: Simulation, number: int = 0) -> Machine:
    """The instance that was launched as the `number`th, from 0."""
    return list(simulation.cloud.machines.values())[number]


def clean(simulation: Simulation) -> None:
    """Nothing is left in AWS, and every unit of money is where it belongs; of jobs that are over
    no memory was made anew: regions would be looked at each second for something on its way."""
    assert simulation.left_in_aws() == []
    tended = simulation.state.world.memory.jobs.values()
    assert [job.id for job in tended if job.view is None] == []
    assert simulation.market.money_is_exact()


class Deaf(set[JobId]):
    """Forgets what changed: every event is lost."""

    def add(self, element: JobId) -> None:
        del element


def lies(simulation: Simulation) -> None:
    """From now on the node's answer to everything is empty: what has ended fleets elsewhere."""
    simulation.market.lies = lambda found: {}
