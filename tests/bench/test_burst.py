"""A crowd under EC2's request budget: every feasible deadline is met, closest first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from bench.burst import Turn, feasible, play, violations
from cloud.request_budget import LIMITS

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet")]


@pytest.fixture
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def test_crowd__more_than_the_budget_allows__all_that_can_be_met_are_met_closest_first() -> None:
    outcome = play(crowd=200, older=10, bootstrapping=120)
    able = feasible(outcome)
    assert 100 < able < 200
    assert outcome.started >= able
    assert violations(outcome.turns) == 0
    given = [turn for turn in outcome.turns if turn.given is not None]
    assert all(turn.given < turn.deadline for turn in given if turn.given is not None)
    limit = LIMITS["RunInstances"]
    seconds = 120 + outcome.assigned - given[0].asked
    assert len(given) <= limit.burst + limit.per_second * seconds


def test_violations__later_deadline_served_first__is_one() -> None:
    waits = Turn(job=1, deadline=10.0, asked=0.0, given=3.0)
    first = Turn(job=2, deadline=20.0, asked=0.0, given=2.0)
    alone = Turn(job=3, deadline=30.0, asked=0.0, given=-1.0)
    assert violations([waits, first, alone]) == 1
    assert violations([waits, alone]) == 0
