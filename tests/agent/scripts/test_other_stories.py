"""One of two endpoints tells another story of a job that both told alike before: another one each
time, or one while the other rests, or with what only we should know. Nothing follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from agent.market.model import Job, JobStatus
from devnet.simulation.names import USER
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import STARTED, assigned, at

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

Story = Callable[[Job, int], Job]


def later(job: Job, number: int) -> Job:
    """Another generation, not started."""
    fresh = replace(job, started_at=0, settled_until=0, endpoint="", status=JobStatus.BOOTSTRAPPING)
    return replace(fresh, generation=job.generation + 1 + number)


def other_image(job: Job, number: int) -> Job:
    return replace(job, enclave_url=f"ipfs://other{number % 2}")


def tells(simulation: Simulation, story: Story, numbers: Iterator[int]) -> None:
    """From now on the endpoint that is read first tells this of every job."""
    simulation.market.lies = lambda found: {
        number: story(job, next(numbers)) for number, job in found.items()
    }


def steady() -> Iterator[int]:
    return iter(lambda: 0, 1)


@pytest.mark.parametrize("story", [later, other_image], ids=lambda story: story.__name__)
def test_story__that_is_another_each_time__neither_buys_nor_reorders(story: Story) -> None:
    """What is told to be another job each time is never compared in time: but the other endpoint
    tells what was known."""
    simulation = Simulation(with_witness=True)
    script = [assigned(), at(300, lambda s: tells(s, story, count()))]
    assert simulation.run(script, 900) == STARTED
    assert "endpoints.disagree" in simulation.events(1)


@pytest.mark.parametrize("story", [later, other_image], ids=lambda story: story.__name__)
def test_story__told_while_the_other_endpoint_rests__changes_nothing_that_is_final(
    story: Story,
) -> None:
    def rests(simulation: Simulation) -> None:
        simulation.weather.fail("witness.read", seconds=300)
        tells(simulation, story, steady())

    simulation = Simulation(with_witness=True)
    assert simulation.run([assigned(), at(299, rests)], 1500) == STARTED


def test_story__told_while_the_other_rests_after_a_restart__changes_nothing_that_is_old() -> None:
    def restarts(simulation: Simulation) -> None:
        simulation.weather.fail("witness.read", seconds=900)
        tells(simulation, other_image, steady())
        simulation.restart_in(1)

    simulation = Simulation(with_witness=True)
    assert simulation.run([assigned(), at(2000, restarts)], 3000) == STARTED


def test_start__told_at_our_own_instance_before_it_was_reported__is_reported_all_the_same() -> None:
    """The address is known to the job's user, who may be the liar's friend."""

    def started(simulation: Simulation) -> None:
        def story(job: Job, number: int) -> Job:
            hosts = simulation.state.world.fleet.hosts(job.id)
            here = next((h.instance.public_ip for h in hosts if h.instance.public_ip), None)
            if job.is_started or here is None:
                return job
            begun = job.assigned_at + 1
            told = replace(job, started_at=begun, settled_until=begun, endpoint=f"{here}:1300")
            return replace(told, status=JobStatus.RUNNING)

        tells(simulation, story, count())

    simulation = Simulation(with_witness=True)
    assert simulation.run([at(0.5, started), assigned()], 2000) == STARTED


def test_story__by_which_a_job_was_taken__does_not_outlive_what_two_told_since() -> None:
    """The journal's first line of a job is one endpoint's word; what two told alike is another."""

    def lies_again(simulation: Simulation) -> None:
        simulation.restart_in(1)
        tells(simulation, other_image, steady())

    def honest(simulation: Simulation) -> None:
        simulation.market.lies = None

    simulation = Simulation(with_witness=True)
    script = [
        at(0.5, lambda s: tells(s, other_image, steady())),
        assigned(),
        at(14, honest),
        at(1000, lies_again),
    ]
    done = simulation.run(script, 2500)
    assert [text for _, text in done].count("order job=1 run=g1a1r0") == 1
    assert [text for _, text in done if text.startswith(("order", "launch"))] == [
        "launch job=1 attempt=1",
        "order job=1 run=g1a1r0",
    ]


def test_story__of_a_job_that_would_be_refused_by_now__is_not_replaced_by_one_that_would_not() -> (
    None
):
    def friend(job: Job, number: int) -> Job:
        return replace(other_image(job, 0), user=job.provider)

    def denies_its_user(simulation: Simulation) -> None:
        rules = simulation.state.rules
        policy = replace(rules.lifecycle.policy, deny_owners=frozenset({USER}))
        rules.lifecycle = replace(rules.lifecycle, policy=policy)
        simulation.state.take(rules)
        tells(simulation, friend, steady())

    simulation = Simulation(with_witness=True)
    assert simulation.run([assigned(), at(300, denies_its_user)], 1500) == STARTED
