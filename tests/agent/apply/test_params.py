"""Init params in a bucket: there while a host may ask for them, gone when replaced or over."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply import params
from agent.decide.host_orders import EnclaveRules, write_desired
from agent.decide.job_view import Host
from agent.decide.keepalive import run_id
from agent.journal.hosts import Alone
from agent.load.remembered import Memory
from agent.market.model import JobId
from agent.market.workload import Workload
from cloud.model import InstanceId, InstanceState
from devnet.simulation.cloud import SimCloud
from devnet.simulation.model_faults import Weather
from tests.agent.decide.test_without_slash_point import OPENED, WORK, host, view
from tests.agent.samples import HOME, IMAGE, INSTANCE, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

GRACE_SECONDS = 3600.0
ONE, TWO = b'{"one": 1}', b'{"two": 2}'
FIRST, SECOND = JobId(0), JobId(1)


def digest(given: bytes) -> str:
    return hashlib.sha256(given).hexdigest()


async def outside(effect: Callable[[], Awaitable[Any]]) -> Any:
    return await effect()


class Scene:
    """Two jobs, what is remembered of them, and a bucket as a storm has it."""

    def __init__(self) -> None:
        self.clock = StandingClock(NOW)
        self.bucket = SimCloud(self.clock, Weather(self.clock))
        self.hosts: dict[JobId, list[Host]] = {}
        self.restart()

    def restart(self) -> None:
        """Another process of the agent, which remembers nothing."""
        fleet = SimpleNamespace(
            hosts=lambda job: tuple(self.hosts.get(job, ())),
            records=lambda: [
                SimpleNamespace(instance=one.instance)
                for several in self.hosts.values()
                for one in several
            ],
        )
        self.world: Any = SimpleNamespace(
            memory=Memory(),
            mailbox=self.bucket,
            fleet=fleet,
            clock=self.clock,
            lease=Alone(),
        )

    def asks(self, job: JobId, given: bytes) -> Workload:
        """The chain says so, and it was read."""
        work = replace(WORK, init_params=given)
        opened = replace(OPENED, id=job, workload=work)
        self.world.memory.job(job).view = view(host(), job=opened, id=job)
        return work

    async def order(self, job: JobId, given: bytes, instance: str = "i-1") -> None:
        """As `hosts.write_desired` does, around the orders themselves."""
        self.asks(job, given)
        one = replace(host(), instance=replace(INSTANCE, id=InstanceId(instance)))
        seen = self.world.memory.job(job).view
        action = write_desired(seen, one, IMAGE, "run", EnclaveRules())
        await params.stage(self.world, action, outside)  # type: ignore[arg-type]  # a border without a gate
        await params.drop_replaced(self.world, action, outside)  # type: ignore[arg-type]  # as above

    async def ends(self, job: JobId) -> None:
        await params.drop_all(self.world, job, outside)  # type: ignore[arg-type]  # as above
        self.world.memory.jobs.pop(job, None)

    async def sweep(self) -> int:
        return len(await params.sweep_params(self.world, [HOME], GRACE_SECONDS))

    @property
    def there(self) -> set[str]:
        return {sha256 for _, sha256 in self.bucket.params}


async def test_job__over__its_params_are_gone() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    assert scene.there == {digest(ONE)}
    await scene.ends(FIRST)
    assert scene.there == set()


@pytest.mark.parametrize("now", [TWO, b""])
async def test_params__others_in_place__the_old_ones_are_gone(now: bytes) -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    await scene.order(FIRST, now)
    assert scene.there == ({digest(now)} if now else set())


async def test_params__of_two_jobs__stay_until_both_are_over() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    await scene.order(SECOND, ONE)
    await scene.order(FIRST, TWO)
    assert scene.there == {digest(ONE), digest(TWO)}
    await scene.ends(FIRST)
    assert scene.there == {digest(ONE)}
    await scene.ends(SECOND)
    assert scene.there == set()


async def test_params__a_second_host_is_not_told_yet__stay_until_it_is() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    other = replace(INSTANCE, id=InstanceId("i-2"))
    old = run_id(1, 2, 0, replace(WORK, init_params=ONE))
    scene.hosts[FIRST] = [replace(host(), instance=other, desired_run=old)]
    await scene.order(FIRST, TWO, "i-1")
    assert scene.there == {digest(ONE), digest(TWO)}
    await scene.order(FIRST, TWO, "i-2")
    assert scene.there == {digest(TWO)}


@pytest.mark.parametrize("after", [False, True])
async def test_delete__fails_or_is_not_heard_of__no_effect_waits_and_the_sweep_finds_it(
    after: bool,
) -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    scene.bucket.weather.fail("mailbox.unstage_params", times=1, after=after)
    await scene.ends(FIRST)
    assert scene.there == (set() if after else {digest(ONE)})
    assert await scene.sweep() == 0, "young"
    scene.clock.at += GRACE_SECONDS + 1
    assert await scene.sweep() == (0 if after else 1)
    assert scene.there == set()


async def test_process__ended_before_it_deleted__the_next_one_s_sweep_does() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    await scene.order(SECOND, TWO)
    scene.restart()
    scene.asks(SECOND, TWO)
    scene.hosts[SECOND] = [host()]
    scene.clock.at += GRACE_SECONDS + 1
    assert await scene.sweep() == 1
    assert scene.there == {digest(TWO)}, "of a job that lives"
    scene.hosts.clear()
    assert await scene.sweep() == 1, "that the chain still has it needs none: nobody asks"


async def test_process__another_one_found_the_enclave__the_end_of_the_job_deletes() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    scene.restart()
    scene.asks(FIRST, ONE)
    params.note_found(scene.world, FIRST, HOME)
    await scene.ends(FIRST)
    assert scene.there == set()


async def test_sweep__a_host_lives_whose_job_was_not_read_yet__touches_nothing() -> None:
    scene = Scene()
    await scene.order(FIRST, ONE)
    scene.restart()
    scene.hosts[FIRST] = [host()]
    scene.clock.at += GRACE_SECONDS + 1
    assert await scene.sweep() == 0
    ended = replace(INSTANCE, state=InstanceState.TERMINATED)
    scene.hosts[FIRST] = [replace(host(), instance=ended)]
    assert await scene.sweep() == 1


async def test_bucket__shared_with_another_agent__nothing_is_deleted() -> None:
    scene = Scene()
    scene.bucket.shared = True
    await scene.order(FIRST, ONE)
    await scene.ends(FIRST)
    scene.clock.at += GRACE_SECONDS + 1
    assert await scene.sweep() == 0
    assert scene.there == {digest(ONE)}
