"""1,000 assignments in one block, under EC2's request budget, against a perfect scheduler.

The agent's own loop and the real request budget (`cloud.request_budget`, RunInstances 5 at once
and 2 a second in a region) in virtual time; chain, hosts and EC2 are models with published boot
times. EC2 cannot make the launches of 1,000 jobs within the slash point that is set here: counted
are how many of those that a perfect scheduler would have started in time were started in time.

Some jobs are older, and their first instances never boot: the instances that race them are asked
for while hundreds wait, and are closer to their slash point. A launch that goes to a job while one
with an earlier slash point waits is a violation.

The perfect scheduler knows every job in the second of its block, spends every token at once on
what is closest and can still be started, and nothing on what can't; an enclave needs what it needs
in the model, is seen by the agent's own cadence of looks, and the report waits for a block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from agent.loop.state import ServiceRules
from agent.market.model import JobId
from bench.figure import Figure
from cloud.model import LaunchOrder
from cloud.request_budget import LIMITS, Budget
from devnet.simulation import loop
from devnet.simulation.cloud import SimCloud
from devnet.simulation.machine import Lengths, Machine
from devnet.simulation.world import Simulation

OLDER, CROWD = 40, 1_000
OLDER_AT, CROWD_AT = 10.0, 70.0  # seconds; a block follows within BLOCK_SECONDS
AFTER_SECONDS = 50.0
BLOCK_SECONDS = 2.0
BOOTSTRAPPING = 300  # seconds
LOOK_SECONDS = ServiceRules().busy_look_seconds


@dataclass
class Turn:
    """A launch's wait for the budget; times are seconds of the simulation."""

    job: int
    deadline: float
    asked: float
    given: float | None = None  # None: never, it was too late


@dataclass
class BudgetedCloud(SimCloud):
    """EC2's model behind the real request budget; keeps when who asked and had a turn."""

    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget = Budget(self.clock)

    async def turn(self, order: LaunchOrder) -> None:
        turn = Turn(order.identity.job, order.deadline - loop.START, self._second())
        self.turns.append(turn)
        await super().turn(order)
        turn.given = self._second()

    def _second(self) -> float:
        return self.clock.now() - loop.START


@dataclass(frozen=True)
class Outcome:
    """What came of the crowd; times are seconds of the simulation."""

    turns: Sequence[Turn]
    started: int  # of the crowd, before their slash point
    assigned: float  # the crowd's block
    bootstrapping: int
    cpu_seconds: float

    @property
    def end(self) -> float:
        """The crowd's slash point."""
        return self.assigned + self.bootstrapping

    @property
    def crowd(self) -> Sequence[Turn]:
        return [turn for turn in self.turns if turn.deadline == self.end]


def play(crowd: int = CROWD, older: int = OLDER, bootstrapping: int = BOOTSTRAPPING) -> Outcome:
    """One run; the same each time."""
    begun = time.process_time()
    made: list[BudgetedCloud] = []

    def setup(simulation: Simulation) -> None:
        made.append(_prepare(simulation, older, bootstrapping))

    simulation = Simulation(setup=setup)
    script = [(OLDER_AT, _assign(1, older)), (CROWD_AT, _assign(older + 1, crowd))]
    simulation.run(script, CROWD_AT + bootstrapping + AFTER_SECONDS)
    jobs = [job for number, job in simulation.market.jobs_.items() if number > older]
    return Outcome(
        turns=made[0].turns,
        started=sum(job.started_at > 0 for job in jobs),
        assigned=jobs[0].assigned_at - loop.START,
        bootstrapping=bootstrapping,
        cpu_seconds=time.process_time() - begun,
    )


def _prepare(simulation: Simulation, older: int, bootstrapping: int) -> BudgetedCloud:
    """EC2 with its budget, and a market in which not everyone can be started."""

    def launched(machine: Machine) -> None:
        identity = machine.order.identity
        machine.never_boots = identity.job <= older and identity.attempt == 1

    market = simulation.market
    market.block_seconds, market.stake = BLOCK_SECONDS, 10**9
    market.terms_ = replace(market.terms_, job_bootstrapping=bootstrapping)
    cloud = BudgetedCloud(simulation.clock, simulation.weather, on_launch=launched)
    simulation.cloud = cloud
    return cloud


def _assign(first: int, count: int) -> Callable[[Simulation], None]:
    def happens(simulation: Simulation) -> None:
        for number in range(first, first + count):
            simulation.market.assign(JobId(number))

    return happens


def feasible(outcome: Outcome) -> int:
    """How many of the crowd a perfect scheduler starts in time, after those that are closer."""
    host = Lengths()
    needed = host.running + host.boot + host.fetch + host.enclave + LOOK_SECONDS
    last_block = outcome.end - BLOCK_SECONDS  # reports are in before the end
    latest = last_block - needed
    limit = LIMITS["RunInstances"]
    tokens = int(limit.burst + limit.per_second * (latest - outcome.assigned))
    closer = sum(
        outcome.assigned <= turn.asked < latest and turn.deadline < outcome.end
        for turn in outcome.turns
    )
    return min(len({turn.job for turn in outcome.crowd}), tokens - closer)


def violations(turns: Sequence[Turn]) -> int:
    """Turns that were given while someone with an earlier slash point waited, who got one later."""
    given = sorted((t for t in turns if t.given is not None), key=lambda t: t.given or 0.0)
    return sum(
        any(
            o.deadline < turn.deadline and o.asked < (turn.given or 0.0) for o in given[place + 1 :]
        )
        for place, turn in enumerate(given)
    )


def in_vain(turns: Sequence[Turn]) -> int:
    """Launches when not even the shortest start fits any more: money for nothing."""
    host = Lengths()
    least = host.running + host.boot + host.enclave
    return sum(t.given is not None and t.given + least >= t.deadline for t in turns)


def run() -> list[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    outcome = play()
    able = feasible(outcome)
    spent = sum(turn.given is not None for turn in outcome.crowd)
    name = f"{CROWD} in a block, {BOOTSTRAPPING} s"
    said = f"{outcome.started} of {able} that a perfect scheduler starts; {spent} launches"
    return [
        Figure(f"{name}: feasible deadlines met", outcome.started / able, "x", 1.0, note=said),
        Figure(f"{name}: launches out of order", violations(outcome.turns), "", 0, at_most=True),
        Figure(f"{name}: launches that could not finish", in_vain(outcome.turns), ""),
        Figure(f"{name}: CPU of the agent and the models", outcome.cpu_seconds, "s"),
    ]
