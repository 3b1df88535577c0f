"""A rehearsal ends what it bought, whatever happens: over the storm's cloud, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import pytest

from agent.decide.host_orders import EnclaveRules
from agent.load.fleet import VISIBLE_SECONDS
from cloud.kinds import NotAllowed, OutcomeUnknown
from cloud.model import InstanceId, InstanceState, Region
from commands.rehearsal import NOBODY, Outside, Rehearsal, Took, What
from commands.schemas import SCHEMAS
from devnet.simulation import loop
from devnet.simulation.cloud import SimCloud
from devnet.simulation.images import SimImages
from devnet.simulation.model_faults import Weather
from faults import Refused

from .program import oyster_here

pytestmark = pytest.mark.unit

HOME = Region("us-east-1")
STAGES = ("image", "stage", "launch", "boot", "enclave", "attest")


@dataclass
class Scene:
    """One rehearsal about to run."""

    clock: loop.VirtualClock
    weather: Weather
    cloud: SimCloud
    images: SimImages
    said: list[str] = field(default_factory=list)

    @classmethod
    def new(cls) -> Scene:
        clock = loop.VirtualClock(loop.current())
        weather = Weather(clock, random.Random(0))
        return cls(clock, weather, SimCloud(clock, weather), SimImages(clock, weather))

    def rehearsal(self, patience: float = 900.0) -> Rehearsal:
        outside = Outside(self.cloud, self.cloud, self.images, self.cloud, self.clock)
        what = What(1, "0xc", HOME, "c6a.xlarge", "ipfs://x", EnclaveRules(), patience)
        return Rehearsal(outside, what, self.said.append)

    def left(self) -> list[InstanceId]:
        """What still runs, or will."""
        now = self.clock.now()
        gone = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)
        return [one.id for one in self.cloud.machines.values() if one.state(now) not in gone]


def play(work: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        await work(Scene.new())

    loop.run(run())


def test_rehearsal__all_well__times_each_stage_and_leaves_nothing() -> None:
    async def work(scene: Scene) -> None:
        took = await scene.rehearsal().run()
        assert took.fault is None, took
        assert set(took.stages) == set(STAGES)
        assert took.up_seconds is not None
        assert 10 < took.up_seconds < 120
        assert took.billed_seconds >= 60
        assert (scene.left(), took.left) == ([], "")
        (machine,) = scene.cloud.machines.values()
        assert machine.order.identity.provider == NOBODY, "no agent takes it for a job's"
        assert not scene.cloud.bucket

    play(work)


@pytest.mark.parametrize(
    "where",
    ["mailbox.stage", "mailbox.write", "mailbox.reports", "cloud.room", "attest", "images.fetch"],
)
def test_rehearsal__a_stage_is_refused__says_so_and_leaves_nothing(where: str) -> None:
    async def work(scene: Scene) -> None:
        scene.weather.fail(where, lambda: Refused("no"))
        took = await scene.rehearsal().run()
        assert str(took.fault) == "no"
        assert scene.left() == []
        assert took.left == ""

    play(work)


def test_rehearsal__the_launch_is_not_allowed__buys_nothing_and_says_why() -> None:
    async def work(scene: Scene) -> None:
        scene.weather.fail("cloud.launch", lambda: NotAllowed("no policy"))
        took = await scene.rehearsal(patience=100).run()
        assert took.fault is not None
        assert scene.left() == []

    play(work)


@pytest.mark.parametrize("after", [1.0, 12.0, 26.0, 28.0])
def test_rehearsal__a_running_agent_unstages_the_image_beside_it__comes_up_all_the_same(
    after: float,
) -> None:
    """The last job that had it ends in that moment."""

    async def work(scene: Scene) -> None:
        running = asyncio.ensure_future(scene.rehearsal().run())
        await asyncio.sleep(after)
        for region, sha256 in sorted(scene.cloud.bucket):
            scene.cloud.lose(region, sha256)
        took = await running
        assert (took.fault, took.left) == (None, "")
        assert scene.left() == []

    play(work)


@pytest.mark.parametrize("after", [0.0, 0.5, 2.0, 5.0, 11.0, 21.0, 33.0, 34.5])
def test_rehearsal__broken_off_at_any_moment__leaves_nothing(after: float) -> None:
    """Ctrl-C: also in the middle of the launch, and before EC2 lists what it launched."""

    async def work(scene: Scene) -> None:
        running = asyncio.ensure_future(scene.rehearsal().run())
        await asyncio.sleep(after)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert scene.left() == []

    play(work)


def test_rehearsal__the_answer_to_the_launch_is_lost__ends_what_it_bought() -> None:
    async def work(scene: Scene) -> None:
        sent = scene.cloud.launch
        lost = iter([True])

        async def launch(order: object) -> object:
            found = await sent(order)  # type: ignore[arg-type] # as it was given
            if next(lost, False):
                raise OutcomeUnknown("no answer")
            return found

        scene.cloud.launch = launch  # type: ignore[method-assign, assignment] # its edge
        took = await scene.rehearsal().run()
        assert took.fault is None, took.fault
        assert len(scene.cloud.machines) == 1
        assert scene.left() == []

    play(work)


def test_rehearsal__one_that_was_killed_before__is_ended_by_the_next() -> None:
    async def work(scene: Scene) -> None:
        killed = asyncio.ensure_future(scene.rehearsal()._stages())
        await asyncio.sleep(VISIBLE_SECONDS)
        killed.cancel()
        assert len(scene.left()) == 1
        await scene.rehearsal().run()
        assert scene.left() == []

    play(work)


def test_rehearsal__not_up_in_time__ends_and_says_so() -> None:
    async def work(scene: Scene) -> None:
        scene.weather.fail("attest", seconds=10_000)
        took: Took = await scene.rehearsal(patience=20).run()
        assert took.fault is not None
        assert took.up_seconds is None
        assert scene.left() == []

    play(work)


def test_rehearse__wrong_words__are_one_line() -> None:
    done = oyster_here("rehearse", "c6a.xlarge", "--image", "ipfs://x", "--config", "/nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "rehearse" in SCHEMAS
