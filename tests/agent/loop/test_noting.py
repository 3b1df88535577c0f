"""What two endpoints told is written down of the assignment that it is of, and of no other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.decide.belief import Past
from agent.decide.job_view import JobView
from agent.journal.lines import CONFIRMED
from agent.load.remembered import JobMemory
from agent.loop.noting import _tell_confirmed
from agent.market.model import Job
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.samples import ACCOUNT, BLOCK, JOB

pytestmark = pytest.mark.unit


def seen(job: Job) -> JobView:
    return JobView(job.id, ACCOUNT, MarketV1Terms(), BLOCK, job)


def told(known: JobMemory) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    def say(job: int, name: str, level: int, **fields: Any) -> None:
        assert name == CONFIRMED
        lines.append(fields)

    state: Any = SimpleNamespace(world=SimpleNamespace(say=say))
    for _ in range(2):  # and once
        _tell_confirmed(state, known)
    return lines


@pytest.mark.parametrize(("head", "lines"), [(1, 1), (2, 0)])
def test_confirmed__of_another_generation_than_the_heads__is_not_told(
    head: int, lines: int
) -> None:
    """The line has the head's generation, which one endpoint alone may tell by then."""
    known = JobMemory(JOB.id, confirmed=1, past=Past.told(replace(JOB, generation=1), 5.0))
    known.view = seen(replace(JOB, generation=head))
    assert len(told(known)) == lines


def test_confirmed__of_a_generation_that_two_tell_apart__has_nothing_of_the_one_before() -> None:
    known = JobMemory(JOB.id, confirmed=2, past=Past.told(replace(JOB, generation=1), 5.0))
    known.view = seen(replace(JOB, generation=2))
    assert told(known) == [{}]
