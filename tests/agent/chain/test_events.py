"""Events since a cursor: nothing is missed through forks, splits and failing nodes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.endpoints import Endpoints
from agent.chain.events import MAX_MARKS, Cursor, EventReader, HeadMoved, Mark, _pruned
from agent.chain.head import Head, HeadTracker, block_ref
from agent.chain.rpc import NodeRefused
from agent.market.model import BlockNumber, BlockRef, JobId
from agent.markets.registry.reads import changed_jobs, job_topics
from faults import RetryLater, TryElsewhere

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def events(stage: Stage, endpoints: Endpoints) -> EventReader:
    jobs_in = partial(changed_jobs, provider=stage.provider)
    return EventReader(endpoints, stage.registry, job_topics(), jobs_in, max_range_blocks=64)


async def start(tracker: HeadTracker, events: EventReader) -> Cursor:
    changes = await events.changes(None, await tracker.poll())
    assert changes.resync
    return changes.cursor


async def test_changes__new_events__name_their_jobs_once(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    first = stage.request()
    changes = await events.changes(cursor, await tracker.poll())
    assert (set(changes.jobs), changes.as_of, changes.resync) == ({first}, stage.head.number, False)
    again = await events.changes(changes.cursor, await tracker.poll())
    assert again.jobs == frozenset()
    second = stage.request()
    stage.node.call("evm_mine", 5)
    stage.send(0, stage.calls.report_started(first, "a:1"))
    later = await events.changes(changes.cursor, await tracker.poll())
    assert later.jobs == {first, second}


async def test_changes__of_another_provider__are_none_of_ours(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer(2)
    cursor = await start(tracker, events)
    stage.request()
    assert (await events.changes(cursor, await tracker.poll())).jobs == frozenset()


async def test_changes__a_node_lags_behind_the_cursor__is_no_fork_and_loses_nothing(
    stage: Stage, tracker: HeadTracker, events: EventReader, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    job = stage.request()
    head = await tracker.poll()
    cursor = (await events.changes(cursor, head)).cursor
    stage.node.call("evm_mine", 5)
    newer = await tracker.poll()
    cursor = (await events.changes(cursor, newer)).cursor
    stage.node.faults.lag = 3  # the head and the answer are of two backends of one balancer
    with pytest.raises(HeadMoved, match="has not got block"):
        await events.changes(cursor, replace(newer, block=replace(newer.block, hash="0x1")))
    behind = Head(stage_block(stage, newer.block.number - 3), newer.finalized)
    changes = await events.changes(cursor, behind)
    assert changes.cursor == cursor
    assert not changes.resync
    stage.node.faults.lag = 0
    stage.send(0, stage.calls.report_started(job, "a:1"))
    assert (await events.changes(cursor, await tracker.poll())).jobs == {job}
    assert "chain." not in capsys.readouterr().out


def stage_block(stage: Stage, number: int) -> BlockRef:
    return block_ref(stage.node.call("eth_getBlockByNumber", hex(number), False))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
async def test_changes__fork_takes_a_job_away__names_it_again_and_what_came_instead(
    stage: Stage, endpoints: Endpoints, events: EventReader, depth: int
) -> None:
    from agent.chain.head import Finality

    tracker = HeadTracker(endpoints, Finality(6))
    stage.offer()
    stage.node.call("evm_mine", 8)
    cursor = await start(tracker, events)
    gone = stage.request()
    for _ in range(depth):
        cursor = (await events.changes(cursor, await tracker.poll())).cursor
        stage.node.call("evm_mine")
    changes = await events.changes(cursor, await tracker.poll())
    stage.node.call("devnet_reorg", depth + 1)
    after = await events.changes(changes.cursor, await tracker.poll())
    assert (set(after.jobs), after.resync) == ({gone}, False)
    instead = stage.request()
    assert instead == gone  # the same id, another job
    last = await events.changes(after.cursor, await tracker.poll())
    assert last.jobs == {instead}


async def test_changes__same_transactions_in_the_fork__are_named_again(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    job = stage.request()
    cursor = (await events.changes(cursor, await tracker.poll())).cursor
    stage.node.call("devnet_reorg", 1, True)
    assert (await events.changes(cursor, await tracker.poll())).jobs == {job}


async def test_changes__fork_below_finality__asks_for_a_resync(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer()
    stage.node.call("evm_mine", 5)
    cursor = await start(tracker, events)
    stage.node.call("devnet_reorg", 5)
    changes = await events.changes(cursor, await tracker.poll())
    assert changes.resync
    assert changes.cursor.last.hash == stage.head.hash


async def test_changes__too_many_results__are_split_until_they_fit(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    jobs = set()
    for _ in range(5):
        jobs.add(stage.request(10))
        stage.node.call("evm_mine", 7)
    stage.node.faults.max_logs_range = 3
    changes = await events.changes(cursor, await tracker.poll())
    assert (set(changes.jobs), changes.as_of) == (jobs, stage.head.number)
    stage.node.faults.fail_methods = ["eth_getLogs"]
    stage.node.call("evm_mine")
    with pytest.raises(NodeRefused):
        await events.changes(changes.cursor, await tracker.poll())


async def test_changes__nodes_fail_midway__keeps_what_was_read(
    stage: Stage, tracker: HeadTracker, events: EventReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    first = stage.request()
    stage.node.call("evm_mine", 80)
    second = stage.request()
    head, asked = await tracker.poll(), stage.node.methods.call

    def dies_later(method: str, params: list[object]) -> object:
        result = asked(method, params)
        stage.node.faults.refuse |= method == "eth_getLogs"
        return result

    monkeypatch.setattr(stage.node.methods, "call", dies_later)
    part = await events.changes(cursor, head)
    assert part.jobs == {first}
    assert part.as_of < head.block.number
    monkeypatch.undo()
    stage.node.faults.refuse = False
    stage.clock.at += 100
    rest = await events.changes(part.cursor, head)
    assert (set(rest.jobs), rest.as_of) == ({second}, head.block.number)


async def test_changes__lagging_node__never_passes_for_no_events(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    stage.offer()
    cursor = await start(tracker, events)
    job = stage.request()
    head = await tracker.poll()
    stage.node.faults.lag = 1
    with pytest.raises((RetryLater, TryElsewhere)):
        await events.changes(cursor, head)
    stage.node.faults.lag = 0
    assert (await events.changes(cursor, head)).jobs == {job}


async def test_changes__head_of_another_fork__is_head_moved(
    stage: Stage, tracker: HeadTracker, events: EventReader
) -> None:
    cursor = await start(tracker, events)
    stage.node.call("evm_mine")
    head = await tracker.poll()
    stage.node.call("devnet_reorg", 1)
    with pytest.raises(HeadMoved):
        await events.changes(cursor, head)


marks = st.lists(st.frozensets(st.integers(1, 9).map(JobId), max_size=3), min_size=1, max_size=200)


@given(marks, st.integers(-5, 205))
def test_cursor__pruned_and_stored__loses_no_job_above_finality(
    jobs: list[frozenset[JobId]], final: int
) -> None:
    full = tuple(Mark(number, f"0x{number:064x}", each) for number, each in enumerate(jobs))
    finalized = BlockRef(BlockNumber(final), "0x", 0)
    kept = _pruned(full, finalized)
    assert len(kept.marks) <= MAX_MARKS or len(jobs) > MAX_MARKS
    assert kept.last == full[-1]
    assert Cursor.from_json(kept.to_json()) == kept
    above = [mark for mark in full if mark.number > final]
    assert {j for m in above for j in m.jobs} <= {j for m in kept.marks for j in m.jobs}
    assert final < 0 or kept.marks[0].number <= final or len(full) == len(above)


def test_cursor__finality_far_away__stays_small() -> None:
    cursor = Cursor((Mark(0, "0x"),))
    nowhere = BlockRef(BlockNumber(0), "0x", 0)
    for number in range(1, 3000):
        jobs = frozenset({JobId(number)}) if number % 100 == 0 else frozenset()
        cursor = _pruned((*cursor.marks, Mark(number, hex(number), jobs)), nowhere)
    assert len(cursor.marks) <= MAX_MARKS
    assert {job for mark in cursor.marks for job in mark.jobs} == set(range(100, 3000, 100))
    assert cursor.marks[0].number == 0


async def test_changes__a_node_that_answers_another_height__is_no_mark(
    stage: Stage, tracker: HeadTracker, events: EventReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = await start(tracker, events)
    stage.node.call("evm_mine")
    head, true = await tracker.poll(), stage.node.methods.call

    def high(method: str, params: list[Any]) -> Any:
        found = true(method, params)
        return {**found, "number": hex(10**9)} if method == "eth_getBlockByNumber" else found

    monkeypatch.setattr(stage.node.methods, "call", high)
    with pytest.raises((RetryLater, TryElsewhere), match="was asked for"):
        await events.changes(cursor, head)


@pytest.mark.parametrize("height", [10**9, 2**47])
async def test_changes__from_a_height_that_was_never_reached__goes_on_from_what_is_left(
    stage: Stage, tracker: HeadTracker, events: EventReader, height: int
) -> None:
    cursor = await start(tracker, events)
    false = Mark(BlockNumber(height), "0x" + "11" * 32, frozenset())
    stage.offer()
    job = stage.request()
    found = await events.changes(Cursor((*cursor.marks, false)), await tracker.poll())
    assert job in found.jobs
    assert max(mark.number for mark in found.cursor.marks) == stage.head.number
    assert (await events.changes(Cursor((false,)), await tracker.poll())).resync
