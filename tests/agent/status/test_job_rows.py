"""A page of a crowd is a page of all rows: what is chosen by shows what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.history.earned import Earned
from agent.status.finding import Query
from agent.status.job_rows import JobRows
from agent.status.source import JobRow, JobState
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import assigned, at, crowd

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


@pytest.fixture(scope="module")
def rows() -> JobRows:
    """Thirty jobs that run, ten that come up, one that leaves."""
    simulation = Simulation()
    script = [assigned(1, job) for job in crowd(30)]
    script += [assigned(395, job) for job in crowd(40)[30:]]
    simulation.run([*script, at(300, lambda s: s.order("exit", 7))], 400)
    return JobRows(simulation.state.world, simulation.clock, Earned(None))


def test_find__everything__is_all_rows_and_counts_them_by_state(rows: JobRows) -> None:
    crowd = rows.find(Query(count=200))
    everything = list(rows.all())
    assert sorted(row.id for row in crowd.page.rows) == sorted(row.id for row in everything)
    assert {row.id: row for row in crowd.page.rows} == {row.id: row for row in everything}
    states = [row.state for row in everything]
    assert crowd.counts == {state: states.count(state) for state in set(states)}
    assert crowd.counts[JobState.BOOTSTRAPPING] == 10
    deadlines = [row.deadline for row in everything if row.state is JobState.BOOTSTRAPPING]
    assert crowd.nearest == min(filter(None, deadlines))


KEYS: dict[str, Callable[[JobRow], Any]] = {
    "id": lambda row: row.id, "price": lambda row: row.price, "earned": lambda row: row.earned,
    "next": lambda row: row.deadline or float("inf"), "type": lambda row: row.instance_type,
}  # fmt: skip


@pytest.mark.parametrize("sort", KEYS)
@pytest.mark.parametrize("down", [False, True])
def test_find__sorted__is_in_the_order_of_what_is_shown(
    rows: JobRows, sort: str, down: bool
) -> None:
    shown = [KEYS[sort](row) for row in rows.find(Query(sort=sort, down=down, count=200)).page.rows]
    assert shown == sorted(shown, reverse=down)


def test_find__in_the_usual_order__what_may_be_lost_comes_first(rows: JobRows) -> None:
    states = [row.state for row in rows.find(Query(count=200)).page.rows]
    assert states[:10] == [JobState.BOOTSTRAPPING] * 10
    assert states[10] is JobState.EXITING


def test_find__words_of_each_column__find_the_job(rows: JobRows) -> None:
    one = next(row for row in rows.all() if row.id == 9)
    for word in (str(one.id), one.instance, one.public_ip, one.zone, one.instance_type):
        assert one.id in _found(rows, word), word
    assert _found(rows, one.instance) == {one.id}
    assert _found(rows, "nowhere") == set()


def _found(rows: JobRows, word: str) -> set[int]:
    found: tuple[JobRow, ...] = rows.find(Query((word.lower(),), count=200)).page.rows
    return {row.id for row in found}
