"""What the status page says of a job: what its end waits for, and its money."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.decide.job_view import JobView
from agent.history.earned import Earned
from agent.load.remembered import JobMemory
from agent.market.model import Ending, JobId, JobStatus, StopReason, Wei
from agent.status.agent_view import stake_jobs
from agent.status.job_rows import JobRows, money_of, since_of, state_of, waits_for
from agent.status.source import JobState
from enclave.host.documents import Status
from tests.agent.samples import ACCOUNT, BLOCK, JOB, NOW, TERMS
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (None, ""),
        (Ending(9, StopReason.ESCROW_EXHAUSTED), "the escrow is empty"),
        (Ending(9, StopReason.PROVIDER_EXIT), "the cool-down is over"),
        (Ending(9, StopReason.USER_REQUEST), "its end"),
    ],
)
def test_waits_for__each_end__is_said_in_words(end: Ending | None, words: str) -> None:
    assert waits_for(end) == words


def test_money_of__settled_in_between__counts_what_was_paid_and_what_is_due() -> None:
    running = replace(
        JOB, status=JobStatus.RUNNING, started_at=NOW - 100, escrow=Wei(1_000_000_000)
    )
    settled = replace(running, settled_until=NOW - 40, escrow=Wei(running.escrow - 60))
    assert money_of(running, TERMS, NOW) == (100, 999_999_900)
    assert money_of(settled, TERMS, NOW) == money_of(running, TERMS, NOW)


def test_money_of__stopped__keeps_what_it_earned() -> None:
    stopped = replace(
        JOB, status=JobStatus.STOPPED, stop_reason=StopReason.USER_REQUEST, started_at=NOW - 100,
        settled_until=NOW, stopped_at=NOW, escrow=Wei(0),
    )  # fmt: skip
    assert money_of(stopped, TERMS, NOW + 50) == (100, 0)


def test_since__of_a_job_that_leaves__is_from_its_request_on() -> None:
    """A job that ran for a week is not "exiting for a week"."""
    job = replace(
        JOB, status=JobStatus.EXITING, started_at=NOW - 7 * 86_400, exit_requested_at=NOW - 60
    )
    view = JobView(id=job.id, account=ACCOUNT, terms=TERMS, head=job, head_block=BLOCK)
    known = JobMemory(job.id, view=view, stage="exiting", stage_since=NOW - 5.0)
    assert since_of(known, view) == NOW - 60


def test_state__missed_and_nothing_ever_ran__is_ended_and_not_ending() -> None:
    job = replace(JOB, status=JobStatus.STOPPED, stopped_at=NOW - 10)
    view = JobView(id=job.id, account=ACCOUNT, terms=TERMS, head=job, head_block=BLOCK)
    known = JobMemory(job.id, view=view, stage="stopped", stage_since=NOW - 5.0)
    assert state_of(known, view.hosts) is JobState.ENDED


def test_census__of_many__counts_states_and_finds_what_is_left_of_the_tightest_start() -> None:
    """Whoever asks for one number does not have a row made of each job."""
    coming = [replace(JOB, id=JobId(one), assigned_at=NOW - 30) for one in (1, 2)]
    running = replace(JOB, id=JobId(3), status=JobStatus.RUNNING, started_at=NOW - 100)
    stages = {1: "bootstrapping", 2: "bootstrapping", 3: "running"}
    jobs = {
        one.id: JobMemory(
            one.id, stage=stages[one.id], deadline=NOW + 30.0 * one.id,
            view=JobView(id=one.id, account=ACCOUNT, terms=TERMS, head=one, head_block=BLOCK),
        )
        for one in (*coming, running)
    }  # fmt: skip
    hosts = [SimpleNamespace(status=Status("running", "r", 1.0, "p", "i", drops={"near": 2}))] * 2
    hosts.append(SimpleNamespace(status=None))
    fleet = SimpleNamespace(hosts=lambda job: (), records=lambda: hosts)
    world: Any = SimpleNamespace(memory=SimpleNamespace(jobs=jobs), fleet=fleet)
    rows = JobRows(world, StandingClock(NOW), Earned(None))
    found = rows.census()
    assert found.drops == {"near": 4}
    assert found.counts == {JobState.BOOTSTRAPPING: 2, JobState.RUNNING: 1}
    assert (found.seconds, found.share) == (30.0, 0.5)
    assert rows.one(4) is None


@pytest.mark.parametrize(
    ("figure", "left", "told"), [(0, 3, 3), (3, 0, 0), (2, None, 2), (None, None, None)]
)
def test_stake_jobs__of_a_minute_ago__gives_way_to_what_the_offers_go_by(
    figure: int | None, left: int | None, told: int | None
) -> None:
    assert stake_jobs(figure, left) == told
