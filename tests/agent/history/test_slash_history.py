"""Slashes of the time in which no agent ran are told at the next start, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader
from agent.chain.head import Head, HeadTracker
from agent.history.faults import FaultHistory
from agent.history.slashes import Slashes, SlashHistory, slash_topic
from agent.journal.engines import open_file
from agent.journal.lines import SLASHED
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.fault_claims import FaultClaims
from agent.load.remembered import Memory
from agent.market.model import JobId
from agent.markets.registry.reads import fault_topic, fault_vote
from agent.status.metrics import Metrics
from agent.status.tally import Tally
from faults import RetryLater
from tests.clocks import MovingClock

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    kept = Journal(open_file(tmp_path / "journal.db"))
    yield kept
    kept.close()


class Life:
    """What one process wires of this: the counter, what was told before, the history."""

    def __init__(
        self, stage: Stage, endpoints: Endpoints, tracker: HeadTracker, journal: Journal
    ) -> None:
        self.metrics = Metrics()
        tally = Tally(self.metrics, stage.clock)
        tally.restore(Reader(journal.engine))()
        journal.told = tally.event
        slashes = Slashes(stage.provider, stage.clock, journal.event)
        slashes.restore(Reader(journal.engine))()
        events = EventReader(endpoints, stage.registry, [slash_topic()], slashes.jobs_in, 64)
        self.history = SlashHistory(events, tracker, journal, stage.clock)

    @property
    def counted(self) -> float | None:
        return self.metrics.registry.get_sample_value("oyster_jobs_slashed_total")


def _slash(stage: Stage) -> JobId:
    job = stage.request()
    stage.node.call("evm_increaseTime", 400)
    stage.send(3, stage.calls.report_fault(job, 1))
    return job


async def test_history__slashed_while_nobody_ran__is_told_at_the_next_start_once(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker, journal: Journal
) -> None:
    stage.offer()
    first = Life(stage, endpoints, tracker, journal)
    await first.history.read()
    assert first.counted == 0

    job = _slash(stage)
    stage.node.call("evm_mine", 5)
    second = Life(stage, endpoints, tracker, journal)
    assert second.counted == 0, "a scrape sees the old value first"
    await second.history.read()
    await second.history.read()
    assert second.counted == 1
    await journal.durable()
    (line,) = [e for e in Reader(journal.engine).timeline(job) if e.name == SLASHED]
    assert line.fields == {"amount": str(10**18)}

    third = Life(stage, endpoints, tracker, journal)
    await third.history.read()
    assert third.counted == 1, "counted since the journal began, and not again"


async def test_history__another_provider_was_slashed__is_not_ours(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker, journal: Journal
) -> None:
    life = Life(stage, endpoints, tracker, journal)
    await life.history.read()
    stage.offer(2)
    _slash(stage)
    stage.node.call("evm_mine", 5)
    await life.history.read()
    assert life.counted == 0


@pytest.mark.parametrize("voices", [1, 2])
async def test_history__reported_while_nobody_ran__is_known_at_the_next_start(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker, journal: Journal, voices: int
) -> None:
    """Where two endpoints are configured, when both have told of it."""
    stage.offer()
    first = await tracker.poll()
    job = _slash(stage)
    stage.node.call("evm_mine", 5)
    memory = Memory()
    memory.job(job)
    heard: list[object] = []
    later = MovingClock(stage.clock.now() + 10_000)
    args = (memory, fault_vote, later, journal.event, heard.append, voices)
    history = FaultHistory(endpoints, stage.registry, fault_topic(), claims := FaultClaims(*args))
    await history.read(Cursor.at(first), await tracker.poll())
    reports = memory.job(job).reports
    assert len(reports) == (1 if voices == 1 else 0)
    claims.heard("another", [_fault_log(stage, job)])
    (report,) = memory.job(job).reports
    assert heard == [[job]]
    assert report.generation == 1
    if voices == 1:
        assert report.at == _block_of(stage, job), "when it was made, not when it was read"


def _fault_log(stage: Stage, job: JobId) -> dict[str, object]:
    asked = {"address": stage.registry, "topics": [fault_topic(), f"0x{job:064x}"]}
    (found,) = stage.node.call("eth_getLogs", {**asked, "fromBlock": "0x0"})
    return dict(found)


def _block_of(stage: Stage, job: JobId) -> float:
    number = _fault_log(stage, job)["blockNumber"]
    return float(int(stage.node.call("eth_getBlockByNumber", number, False)["timestamp"], 16))


class Stops(MovingClock):
    """Ends whoever waits for the ninth time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == 9:
            raise asyncio.CancelledError


async def test_history__nodes_that_can_not_tell__are_asked_ever_more_rarely(
    endpoints: Endpoints,
    tracker: HeadTracker,
    stage: Stage,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that has thrown its old logs away never will: to ask it each minute is too dear."""
    clock = Stops(0.0)

    async def no_head() -> Head:
        raise RetryLater("no node answers")

    monkeypatch.setattr(tracker, "poll", no_head)
    events = EventReader(endpoints, stage.registry, [slash_topic()], lambda logs: ())
    with pytest.raises(asyncio.CancelledError):
        await SlashHistory(events, tracker, journal, clock).follow()
    assert clock.slept == [60, 60, 120, 240, 480, 960, 1920, 3600, 3600]
