"""A host that stands by does nothing but look, and begins when it leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from agent.decide.job_view import JobView
from agent.journal.hosts import Term
from agent.loop import leading
from agent.loop.leading import Leadership
from agent.market.model import JobId
from devnet.simulation.world import Simulation
from faults import Fenced
from tests.agent.scripts.play import assigned, at

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


class Held:
    """A lease that a test gives and takes."""

    def __init__(self) -> None:
        self.term: Term | None = None
        self.away = ""
        self.taken: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None

    def held(self) -> bool:
        return self.term is not None

    def is_taken(self) -> bool:
        return self.term is not None

    def fence(self, connection: sa.Connection) -> None:
        if self.term is None:
            raise Fenced("not here")

    def take(self) -> None:
        self.term = Term("t", 3)
        self.taken()


def test_standby__until_it_leads__does_nothing_and_then_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, simulation = Held(), Simulation()
    started = simulation.start

    def start(*, lose_journal: bool = False) -> None:
        started(lose_journal=lose_journal)
        leadership = Leadership(held)
        simulation.state.leadership = leadership
        simulation.state.world.lease = leadership.lease

    def taken(simulation: Simulation) -> None:
        held.take()
        simulation.state.leadership.leads.set()  # a virtual loop hears nothing of threads

    monkeypatch.setattr(simulation, "start", start)
    done = simulation.run([assigned(), at(200, taken)], 500)
    assert done[0][0] >= 200
    assert [text for _, text in done][-1] == "reportStarted job=1"
    assert simulation.said(1, "job.assigned") == ""


@pytest.mark.parametrize("stands_by", [True, False])
def test_takeover__what_the_host_before_told__is_read_again(
    monkeypatch: pytest.MonkeyPatch, stands_by: bool
) -> None:
    """Or a slash that it told would be told again, and a rate that it agreed to not be known."""
    held, simulation, read = Held(), Simulation(), list[str]()
    started = simulation.start

    def start(*, lose_journal: bool = False) -> None:
        started(lose_journal=lose_journal)
        if stands_by:
            simulation.state.leadership = Leadership(held)
        simulation.state.told_elsewhere.append(lambda reader: lambda: read.append("told"))

    def taken(simulation: Simulation) -> None:
        assert not read
        held.take()
        simulation.state.leadership.leads.set()

    monkeypatch.setattr(simulation, "start", start)
    simulation.run([at(200, taken)] if stands_by else [], 300)
    assert read == ["told"] * stands_by


def test_takeover__a_job_was_heard_of_just_now__is_acted_on_before_all_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are thousands, and what presses waited for the last of them."""
    held, simulation, read = Held(), Simulation(), list[list[int]]()
    started = simulation.start

    def start(*, lose_journal: bool = False) -> None:
        started(lose_journal=lose_journal)
        simulation.state.leadership = Leadership(held)
        load = simulation.state.loader.load

        async def noted(ids: Sequence[JobId], *others: Any, **more: Any) -> list[JobView]:
            read.append(list(ids))
            return await load(ids, *others, **more)

        monkeypatch.setattr(simulation.state.loader, "load", noted)

    def taken(simulation: Simulation) -> None:
        held.take()
        simulation.state.leadership.leads.set()

    monkeypatch.setattr(simulation, "start", start)
    long_ago, just_now = assigned(1), assigned(270, JobId(2))
    simulation.run([long_ago, just_now, at(300, taken)], 310)
    assert read[:2] == [[2], [1, 2]]


def leadership() -> tuple[Held, Leadership, list[Fenced]]:
    held, ended = Held(), list[Fenced]()
    made = Leadership(held)
    made.break_ = ended.append
    return held, made, ended


def test_lost__while_it_led__ends_with_the_code_that_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers = list[tuple[float, list[int]]]()

    class Timer:
        daemon = False

        def __init__(self, seconds: float, _end: object, codes: list[int]) -> None:
            timers.append((seconds, codes))

        def start(self) -> None:
            """Not in a test."""

    monkeypatch.setattr("agent.loop.leading.threading.Timer", Timer)

    async def play() -> list[Fenced]:
        held, made, ended = leadership()
        held.take()
        await asyncio.sleep(0)
        assert made.leads.is_set()
        assert not made.stands_by
        held.lost()
        await asyncio.sleep(0)
        return ended

    (fenced,) = asyncio.run(play())
    assert fenced.exit_code == 75
    assert timers == [(leading.END_SECONDS, [75])]


@pytest.mark.parametrize(("term", "ends"), [("3", True), ("2", False), ("", False)])
def test_yield__of_this_term_alone__ends_the_leader(term: str, ends: bool) -> None:
    """An order of an earlier term is read again after each start."""

    async def play() -> list[Fenced]:
        held, made, ended = leadership()
        held.take()
        made.yield_to_others(term)
        return ended

    assert bool(asyncio.run(play())) == ends


def test_words__the_server_is_away__say_so_and_nothing_of_who_leads() -> None:
    async def play() -> None:
        held, made, _ = leadership()
        assert (made.stands_by, made.words) == (True, "")
        held.away = "connection refused"
        assert "connection refused" in made.words
        held.take()
        await asyncio.sleep(0)
        assert "connection refused" in made.words
        assert Leadership().words == ""

    asyncio.run(play())
