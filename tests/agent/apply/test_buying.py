"""On one endpoint's word so many are bought; what may be there though its reply was lost is one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply.buying import Buying
from agent.decide.job_view import Host, JobView, LaunchPhase, LaunchView
from agent.decide.plan import Launch
from agent.decide.unconfirmed_launches import BurstRules
from agent.load.remembered import Memory
from agent.market.model import JobId
from agent.markets.marketv1.terms import MarketV1Terms
from cloud.model import Identity, InstanceState, LaunchOrder
from tests.agent.samples import ACCOUNT, BLOCK, HOME, INSTANCE, JOB, NOW, OTHER

pytestmark = pytest.mark.unit

RULES = BurstRules()
FULL = RULES.unconfirmed


class World:
    """Jobs that one endpoint tells of, `age` seconds old by its word, and what became of their
    launches; `told` has who waits."""

    age = 5

    def __init__(self) -> None:
        self.memory, self.listed, self.told = Memory(), dict[int, Host](), list[int]()
        self.fleet = SimpleNamespace(hosts=self.hosts, jobs=lambda: set(self.listed))
        self.now = float(NOW)
        self.clock = SimpleNamespace(now=lambda: self.now)

    def hosts(self, job: int) -> list[Host]:
        return [self.listed[job]] if job in self.listed else []

    def say(self, job: int, *_: object) -> None:
        self.told.append(job)

    def view(self, job: int) -> JobView:
        found = replace(JOB, id=JobId(job), assigned_at=NOW - self.age)
        return JobView(JobId(job), ACCOUNT, MarketV1Terms(), BLOCK, found, agreed=False)

    def tried(self, job: int, phase: LaunchPhase) -> None:
        known = self.memory.job(JobId(job))
        known.view, known.launch = self.view(job), LaunchView(1, 1, phase, NOW - 4.0)

    def bought(self, job: int) -> None:
        """It runs, and the journal has its launch."""
        self.listed[job] = live()
        self.tried(job, LaunchPhase.LAUNCHED)

    def buying(self) -> Buying:
        world: Any = self
        agenda: Any = SimpleNamespace(put_off=lambda job, when: None)
        return Buying(world, agenda, lambda jobs: None, set)

    def admitted(self, job: int, attempt: int = 1) -> bool:
        account = (ACCOUNT.chain_id, ACCOUNT.contract, ACCOUNT.provider)
        order = LaunchOrder(Identity(*account, job, 1, attempt), HOME, "c6a.xlarge", NOW + 600.0)
        self.memory.job(JobId(job)).view = self.view(job)
        return self.buying().admits(self.view(job), Launch(JobId(job), order), RULES)


def live() -> Host:
    identity = replace(INSTANCE.identity, generation=1, attempt=1)
    return Host(replace(INSTANCE, identity=identity, state=InstanceState.RUNNING))


@pytest.mark.parametrize("age", [0, 100, 179, 180, 10**6])
def test_wait__for_a_second_endpoint__counts_from_when_it_was_asked_whatever_the_jobs_age(
    age: int,
) -> None:
    """When a job began is the word of whoever may have made it up."""
    world = World()
    world.age = age
    for job in range(FULL):
        world.tried(job, LaunchPhase.LAUNCHED)
    assert not world.admitted(FULL)
    world.now += 89.0
    assert not world.admitted(FULL)
    world.now += 2.0  # silent for half of what watchers grant
    assert world.admitted(FULL)


def test_instances__of_jobs_not_looked_at_since_a_restart__count_as_bought() -> None:
    world = World()
    for job in range(FULL):
        world.bought(job)
        world.memory.job(JobId(job)).view = None
    assert not world.admitted(FULL)
    world.listed.popitem()
    world.memory.jobs.pop(JobId(FULL - 1))
    assert world.admitted(FULL)


def test_instances__of_which_a_lost_journal_knew__leave_the_places_to_new_jobs() -> None:
    """Nobody can tell any more by whose word they were bought, and one endpoint denies them all:
    new jobs that it denied, too, waited until they were slashed."""
    world = World()
    world.listed = {job: live() for job in range(10 * FULL)}
    for job in range(5 * FULL):  # the others were not looked at yet
        world.memory.job(JobId(job)).view = world.view(job)
    assert world.admitted(10 * FULL)
    assert 10 * FULL - 1 not in world.memory.jobs, "counting begins nothing"
    for job in range(FULL):
        world.bought(job)
    assert not world.admitted(10 * FULL)


UNKNOWN = [LaunchPhase.ASKED, LaunchPhase.LATER, LaunchPhase.LAUNCHED]


@pytest.mark.parametrize("phase", list(LaunchPhase))
def test_launch__whose_end_is_not_known__counts_as_bought(phase: LaunchPhase) -> None:
    world = World()
    for job in range(FULL):
        world.tried(job, phase)
    assert world.admitted(FULL) == (phase not in UNKNOWN)
    assert world.told == ([FULL] if phase in UNKNOWN else [])


@pytest.mark.parametrize("phase", UNKNOWN)
def test_launch__the_same_order_again__is_no_other_instance_and_waits_for_nobody(
    phase: LaunchPhase,
) -> None:
    world = World()
    for job in range(FULL):
        world.tried(job, phase)
    assert all(world.admitted(job) for job in range(FULL))
    assert not world.admitted(0, attempt=2)


@pytest.mark.parametrize("state", [InstanceState.PENDING, InstanceState.TERMINATED])
def test_launch__that_the_listing_shows__counts_once_and_only_while_it_lives(
    state: InstanceState,
) -> None:
    world = World()
    for job in range(FULL):
        world.tried(job, LaunchPhase.LAUNCHED)
        identity = replace(INSTANCE.identity, generation=1, attempt=1)
        world.listed[job] = Host(replace(INSTANCE, identity=identity, state=state))
    assert world.admitted(FULL) == (state is InstanceState.TERMINATED)
    world.listed.pop(0)
    assert world.admitted(FULL) == (state is InstanceState.TERMINATED)


@pytest.mark.parametrize("whose", ["nobody's", "another's"])
@pytest.mark.parametrize("agreed", [True, False])
def test_instances__of_jobs_that_are_said_to_be_none__count_until_they_are_gone(
    whose: str, agreed: bool
) -> None:
    """A lie that ends leaves its instances running until that is final: others come beyond."""
    world = World()
    head = None if whose == "nobody's" else replace(JOB, provider=OTHER)
    for job in range(FULL):
        world.bought(job)
        known = world.memory.job(JobId(job))
        known.view = replace(world.view(job), head=head, agreed=agreed)
    assert not world.admitted(FULL)
    world.memory.job(JobId(0)).confirmed = 1  # two told once that it is ours: no lie bought it
    assert world.admitted(FULL)
    world.memory.job(JobId(0)).confirmed = None
    job, _ = world.listed.popitem()
    world.memory.job(JobId(job)).launch = None
    assert world.admitted(FULL)


def test_launch__of_a_generation_that_one_alone_tells__is_not_confirmed_by_the_one_before() -> None:
    world = World()
    for job in range(FULL):
        world.tried(job, LaunchPhase.LAUNCHED)
    known = world.memory.job(JobId(FULL))
    known.confirmed = JOB.generation + 1
    assert not world.admitted(FULL)
    known.confirmed = JOB.generation
    assert world.admitted(FULL)
