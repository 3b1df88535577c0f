"""An image by its URL alone: its first bytes are the job's, by the journal or by the instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply import hosts, images
from agent.decide.job_view import ImagePhase
from agent.decide.plan import FetchImage, WriteDesired
from agent.journal.engines import open_file
from agent.journal.lines import IMAGE_PINNED, Event
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.fleet import Fleet
from agent.load.pins import name_of, pinned_by, pins_of, tag_of
from agent.load.remembered import Memory
from agent.market.model import JobId
from agent.ports import Image
from cloud.model import InstanceId, Region
from enclave.host.documents import Desired
from faults import Refused, RetryLater
from tests.agent.load.test_fleet_reports import Mail, Nothing
from tests.agent.samples import ACCOUNT, IMAGE, INSTANCE, JOB, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

URL = "https://files.example/x.eif?X-Amz-Signature=s3cret"
FIRST, SECOND = "a" * 64, "b" * 64


@dataclass
class Web:
    """What URLs lead to now; keeps nothing."""

    now: str = FIRST
    pins: list[str] = field(default_factory=list)
    by_url: bool = True

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> Image:
        self.pins.append(pin)
        if pin and pin != self.now:
            raise Refused("another file is there now")
        return replace(IMAGE, url=url, sha256=self.now, by_url=self.by_url)


class Ec2(Nothing):
    def __init__(self) -> None:
        self.noted: list[str] = []
        self.down = False

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        if self.down:
            raise RetryLater("throttled")
        self.noted.append(words)


async def outside(effect: Callable[[], Awaitable[Any]]) -> Any:
    return await effect()


@dataclass
class Agent:
    """What effects ask of the world, over a real journal and fleet; `restart` keeps the journal."""

    journal: Journal
    web: Web = field(default_factory=Web)
    ec2: Ec2 = field(default_factory=Ec2)
    instances: tuple[Any, ...] = ()
    waited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, *, lost: bool = False) -> None:
        self.journal.flush()
        self.memory = Memory(pins={} if lost else pins_of(Reader(self.journal.engine)))
        fleet = Fleet(self.ec2, Mail({}), StandingClock(NOW), ACCOUNT)
        for one in self.instances:
            fleet.add(one)
        self.mail = Mail({})
        self.world: Any = SimpleNamespace(
            memory=self.memory, images=self.web, fleet=fleet, clock=StandingClock(NOW),
            cloud=self.ec2, mailbox=SimpleNamespace(write_desired=self._write),
            learner=SimpleNamespace(observe=lambda *_: None), say=self._say,
            say_and_wait=self._wait, known_images=(),
        )  # fmt: skip
        self.written: list[Any] = []

    async def _write(self, region: Region, instance: InstanceId, document: Any) -> None:
        self.written.append(document)

    async def _wait(self, job: JobId, name: str, fault: Exception, **fields: Any) -> None:
        self.waited.append(name)

    def _say(self, job: JobId, name: str, text: str = "", level: int = 20, **fields: Any) -> None:
        self.journal.event(Event(NOW, name, job, 1, int(level), text, fields))

    async def fetch(self, url: str = URL, job: int = 0) -> Any:
        self.memory.job(JobId(job))  # it is tended
        await images.fetch(self.world, FetchImage(JobId(job), url, NOW + 60), outside)  # type: ignore[arg-type]  # a border without a gate
        return self.memory.job(JobId(job)).image

    async def order(self, sha256: str) -> None:
        desired = Desired("run-1", sha256, 10, 2, 4096)
        action = WriteDesired(JobId(0), INSTANCE.region, INSTANCE.id, desired, b"")
        await hosts.write_desired(self.world, action, outside)  # type: ignore[arg-type]  # as above


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    journal = Journal(open_file(tmp_path / "journal.sqlite"))
    yield Agent(journal)
    journal.close()


async def test_first_fetch__is_a_line_of_the_journal_that_tells_no_secret(agent: Agent) -> None:
    await agent.fetch()
    agent.journal.flush()
    (line,) = Reader(agent.journal.engine).named(IMAGE_PINNED)
    assert (line.job, line.fields["sha256"]) == (0, FIRST)
    assert "s3cret" not in repr(line)
    assert agent.web.pins == [""]


async def test_restart__file_changed_since__only_the_first_is_asked_for(agent: Agent) -> None:
    await agent.fetch()
    agent.restart()
    agent.web.now = SECOND
    found = await agent.fetch()
    assert agent.web.pins == ["", FIRST]
    assert (found.phase, found.reason) == (ImagePhase.REFUSED, "another file is there now")


async def test_journal_lost__the_instance_tells(agent: Agent) -> None:
    identity = replace(INSTANCE.identity, job=0)
    agent.instances = (replace(INSTANCE, identity=identity, image=tag_of(URL, FIRST)),)
    agent.restart(lost=True)
    await agent.fetch()
    assert agent.web.pins == [FIRST]


async def test_another_url_or_job__is_another_pin(agent: Agent) -> None:
    await agent.fetch()
    agent.web.now = SECOND
    await agent.fetch(URL + "&v=2")
    await agent.fetch(job=1)
    assert agent.web.pins == ["", "", ""]
    assert (await agent.fetch(URL + "&v=2")).image.sha256 == SECOND
    assert agent.web.pins[-1] == SECOND


async def test_image__that_its_url_names__is_not_pinned_or_noted(agent: Agent) -> None:
    agent.web.by_url = False
    await agent.fetch()
    await agent.order(FIRST)
    agent.journal.flush()
    assert Reader(agent.journal.engine).named(IMAGE_PINNED) == []
    assert agent.ec2.noted == []


async def test_orders__of_a_host__are_noted_on_it_first(agent: Agent) -> None:
    agent.instances = (replace(INSTANCE, identity=replace(INSTANCE.identity, job=0)),)
    agent.restart()
    await agent.fetch()
    agent.ec2.down = True
    await agent.order(FIRST)
    assert (agent.written, agent.waited) == ([], ["host.orders_failed"])
    agent.ec2.down = False
    await agent.order(FIRST)
    assert agent.ec2.noted == [tag_of(URL, FIRST)]
    assert len(agent.written) == 1


async def test_orders__to_a_host_that_has_the_note__are_not_noted_again(agent: Agent) -> None:
    identity = replace(INSTANCE.identity, job=0)
    agent.instances = (replace(INSTANCE, identity=identity, image=tag_of(URL, FIRST)),)
    agent.restart()
    await agent.fetch()
    await agent.order(FIRST)
    assert agent.ec2.noted == []


@pytest.mark.parametrize(
    "tag", ["", "x", f"{name_of('other')}:{FIRST}", f"{name_of(URL)}:zz", f"{name_of(URL)}:", "é"]
)
def test_tag__that_is_none_or_of_another_url__pins_nothing(tag: str) -> None:
    assert pinned_by([tag], URL) == ""
    assert pinned_by([tag, tag_of(URL, FIRST)], URL) == FIRST


def test_journal__with_odd_lines__is_read_without_them(agent: Agent) -> None:
    for fields in ({}, {"url_name": "x", "sha256": FIRST}, {"url_name": name_of(URL)}):
        agent.journal.event(Event(NOW, IMAGE_PINNED, JOB.id, 1, fields=fields))
    agent.journal.flush()
    assert pins_of(Reader(agent.journal.engine)) == {}
