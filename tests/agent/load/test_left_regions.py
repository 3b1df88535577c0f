"""A region that left the configuration while something of ours may live there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.decide.job_view import JobView, LaunchPhase, Observed
from agent.decide.lifecycle import plan
from agent.decide.plan import Launch
from agent.journal.engines import open_file
from agent.journal.lines import ENDED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.left_regions import left_behind
from agent.market.model import JobId, JobStatus
from agent.ports import Wanted, always
from cloud.model import (
    EnclaveRoom,
    Headroom,
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
)
from tests.agent.samples import ACCOUNT, BLOCK, HOME, INSTANCE, JOB, NOW, RULES, TERMS

pytestmark = pytest.mark.unit

AWAY = Region("eu-west-1")


@dataclass
class _Cloud:
    """Lists what it is given, and remembers where it was asked."""

    there: dict[Region, Sequence[Instance]] = field(default_factory=dict)
    asked: list[Region] = field(default_factory=list)

    async def instances(self, region: Region) -> Sequence[Instance]:
        self.asked.append(region)
        return self.there.get(region, ())

    async def launch(self, order: LaunchOrder) -> Instance:
        raise AssertionError(order)

    async def rehearse(self, order: LaunchOrder) -> None:
        raise AssertionError(order)

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Wanted = always
    ) -> None:
        raise AssertionError(instances)

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        raise AssertionError

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        raise AssertionError(instance_type)

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        raise AssertionError(instance_type)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(open_file(tmp_path / "journal.sqlite"))
    yield opened
    opened.close()


def _launched(journal: Journal, job: int, region: Region, at: float) -> None:
    name = f"i-{job}"
    phase = LaunchPhase.LAUNCHED
    journal.launch(LaunchRecord(at, JobId(job), 1, 1, region, "c6a.xlarge", phase, name))


def _left(journal: Journal, cloud: _Cloud, *regions: Region) -> Sequence[str]:
    journal.flush()
    return asyncio.run(left_behind(Reader(journal.engine), cloud, regions, NOW))


def test_left_behind__an_instance_lives_there__is_named(journal: Journal) -> None:
    _launched(journal, 1, AWAY, NOW - 5000)
    cloud = _Cloud({AWAY: [replace(INSTANCE, region=AWAY)]})
    (line,) = _left(journal, cloud, HOME)
    assert "eu-west-1" in line
    assert "i-1 " in line
    assert _left(journal, cloud, HOME, AWAY) == []


def test_left_behind__launched_just_now_and_not_listed_yet__counts(journal: Journal) -> None:
    _launched(journal, 1, AWAY, NOW - 60)
    assert len(_left(journal, _Cloud(), HOME)) == 1


def test_left_behind__it_ended_or_nothing_lives_there__is_nothing(journal: Journal) -> None:
    _launched(journal, 1, AWAY, NOW - 5000)
    ended = replace(INSTANCE, region=AWAY, state=InstanceState.TERMINATED)
    assert _left(journal, _Cloud({AWAY: [ended]}), HOME) == []
    journal.event(Event(NOW - 4000, ENDED, JobId(1), 1))
    cloud = _Cloud({AWAY: [INSTANCE]})
    assert _left(journal, cloud, HOME) == []
    assert cloud.asked == [], "told as ended: AWS is not asked"


@pytest.mark.parametrize("started_at", [0, NOW - 5000])
def test_plan__a_job_in_a_region_that_is_not_configured__buys_nothing(started_at: int) -> None:
    status = JobStatus.RUNNING if started_at else JobStatus.BOOTSTRAPPING
    view = JobView(
        id=JOB.id,
        account=ACCOUNT,
        terms=TERMS,
        head_block=BLOCK,
        head=replace(JOB, instance_type=f"{AWAY}/c6a.xlarge", started_at=started_at, status=status),
        observed=Observed(NOW, NOW, NOW - 5000, 5000.0),
    )
    policy = replace(RULES.policy, regions=frozenset({HOME}))
    here = replace(policy, regions=frozenset({HOME, AWAY}))
    for rules, buys in ((policy, False), (here, True)):
        decided = plan(view, NOW, replace(RULES, policy=rules))
        assert any(isinstance(action, Launch) for action in decided.actions) is buys
