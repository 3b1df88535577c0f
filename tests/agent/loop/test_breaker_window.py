"""The breaker's window goes on over a restart, or another host that takes over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.job_view import LaunchPhase
from agent.decide.plan import Terminate
from agent.decide.termination_breaker import Asked, BreakerRules, BreakerState, judge
from agent.journal.lines import END_ASKED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.journal.schema import metadata
from agent.journal.writing import Journal
from agent.loop.restore import breaker_window
from agent.market.model import JobId
from cloud.model import InstanceId, Region

pytestmark = pytest.mark.unit

RULES = BreakerRules(share=0.3, window_seconds=600.0, min_jobs=3)
SERVED = 9
WINDOW = RULES.window_seconds


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: sa.Engine) -> Journal:
    return _empty(engine)


def _empty(engine: sa.Engine) -> Journal:
    metadata.drop_all(engine)
    metadata.create_all(engine)
    return Journal(engine)


def _launched(journal: Journal, job: int) -> None:
    kind = LaunchPhase.LAUNCHED
    journal.launch(LaunchRecord(0.0, JobId(job), 1, 1, "us-east-1", "t", kind, f"i-{job}"))


def _end(job: int) -> Terminate:
    instance = InstanceId(f"i-{job}")
    return Terminate(JobId(job), Region("us-east-1"), (instance,), "closed", by_chain=True)


def test_window__after_a_restart__counts_what_was_asked_for_in_it(journal: Journal) -> None:
    for job, at in ((1, 300.0), (2, 500.0), (3, 950.0), (4, 2_000.0)):
        _launched(journal, job)
        journal.event(Event(at, END_ASKED, JobId(job)))
    journal.event(Event(600.0, END_ASKED, JobId(2)))  # taken back between, and asked for again
    journal.event(Event(900.0, END_ASKED, JobId(7)))  # nothing was launched for it
    assert journal.flush()
    found = breaker_window(Reader(journal.engine), 1_000.0, WINDOW)
    assert found == BreakerState({JobId(2): 500.0, JobId(3): 950.0, JobId(4): 1_000.0})


def test_window__of_an_empty_journal__is_empty(journal: Journal) -> None:
    assert breaker_window(Reader(journal.engine), 1_000.0, WINDOW) == BreakerState()


@given(st.lists(st.floats(0, 400), max_size=SERVED), st.integers(0, SERVED))
def test_window__a_restart_anywhere__lets_pass_nothing_that_would_have_been_held(
    engine: sa.Engine, pauses: list[float], restart: int
) -> None:
    """One job's end more is asked for after each pause, and all that are held with it."""
    journal, now = _empty(engine), 1_000.0
    on, anew = BreakerState(), BreakerState()
    for turn, pause in enumerate(pauses):
        now += pause
        if turn == restart:
            assert journal.flush()
            anew = breaker_window(Reader(engine), now, WINDOW)
        _launched(journal, turn)
        journal.event(Event(now, END_ASKED, JobId(turn)))
        wanted = {JobId(turn)} | on.held
        asked = Asked(frozenset(wanted), [_end(job) for job in sorted(wanted)], SERVED)
        first, second = (judge(asked, state, now, RULES) for state in (on, anew))
        on = first.state
        anew = second.state if turn >= restart else on
        if turn >= restart:
            assert set(first.held) <= set(second.held)
