"""What the journal is told is counted, under labels that are there from the start."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from agent.apply.transactions import EVENT_NAMES
from agent.decide.job_view import JobView, LaunchPhase
from agent.decide.lifecycle import OUTCOMES, outcome_of
from agent.journal.lines import SLASHED, Event
from agent.journal.reading import Reader
from agent.market.model import Job, JobId, JobStatus, StopReason
from agent.status import metrics as labels_of
from agent.status.metrics import Metrics
from agent.status.tally import MISSED, Tally
from tests.agent.samples import ACCOUNT, BLOCK, JOB, OTHER, TERMS
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("event", "sample", "labels", "value"),
    [
        (Event(0, "job.refused", text="price: too low"), "jobs_refused", {"rule": "price"}, 1),
        (Event(0, "job.refused", text="new rule: x"), "jobs_refused", {"rule": "other"}, 1),
        (Event(0, "job.missed", JobId(1)), "jobs_missed", {}, 1),
        (Event(0, "job.slashed", JobId(1)), "jobs_slashed", {}, 1),
        (Event(0, "job.ended", text="user_request"), "jobs_ended", {"outcome": "user_request"}, 1),
        (Event(0, "job.ended", text="a new end"), "jobs_ended", {"outcome": "other"}, 1),
        (Event(0, "job.replaced"), "repairs", {"kind": "host_replace"}, 1),
        (Event(0, "enclave.restarted"), "repairs", {"kind": "enclave_restart"}, 1),
        (Event(0, "launch.nowhere"), "launches", {"phase": "nowhere"}, 1),
        (Event(0, "image.ready"), "images", {"result": "ready"}, 1),
        (Event(0, "tx.later", text="settle: x"), "transactions",
         {"kind": "other", "result": "later"}, 1),
        (Event(0, "tx.report_started", fields={"fee_wei": "7"}), "gas_wei", {}, 7),
        (Event(0, "tx.settled", fields={"fee_wei": "odd"}), "gas_wei", {}, 0),
        (Event(0, "something.new"), "jobs_missed", {}, 0),
    ],
)  # fmt: skip
def test_tally__a_line_of_the_journal__counts_once(
    event: Event, sample: str, labels: dict[str, str], value: float
) -> None:
    metrics = Metrics()
    Tally(metrics, StandingClock(5000.0)).event(event)
    assert metrics.registry.get_sample_value(f"oyster_{sample}_total", labels) == value


_ENDED = [
    None,
    replace(JOB, provider=OTHER),
    *(
        replace(JOB, status=JobStatus.STOPPED, stop_reason=reason)
        for reason in StopReason
        if reason is not StopReason.NONE
    ),
]


def test_ends__every_way_a_job_can_end__has_its_label_from_the_start() -> None:
    given = {outcome_of(JobView(JOB.id, ACCOUNT, TERMS, BLOCK, head)) for head in _ENDED}
    assert given == set(OUTCOMES)
    fresh = Metrics().registry
    for outcome in given:
        assert fresh.get_sample_value("oyster_jobs_ended_total", {"outcome": outcome}) == 0


@pytest.mark.parametrize("head", _ENDED, ids=str)
def test_ends__each__is_counted_under_its_own_name(head: Job | None) -> None:
    metrics, outcome = Metrics(), outcome_of(JobView(JOB.id, ACCOUNT, TERMS, BLOCK, head))
    Tally(metrics, StandingClock(5000.0)).event(Event(0, "job.ended", text=outcome))
    assert metrics.registry.get_sample_value("oyster_jobs_ended_total", {"outcome": outcome}) == 1
    assert metrics.registry.get_sample_value("oyster_jobs_ended_total", {"outcome": "other"}) == 0


def _written(pattern: str) -> set[str]:
    """What the agent's own code writes, by the first group of `pattern`."""
    agent = Path(labels_of.__file__).parents[1]
    return {name for file in agent.rglob("*.py") for name in re.findall(pattern, file.read_text())}


def test_labels__everything_the_agent_says__has_its_own() -> None:
    assert _written(r'Refusal\("(\w+)"') <= set(labels_of.REFUSALS)
    assert _written(r'"image\.(\w+)"') <= set(labels_of.IMAGES)
    assert {phase.value for phase in LaunchPhase} <= set(labels_of.LAUNCHES)
    assert set(EVENT_NAMES.values()) <= set(labels_of.TRANSACTIONS)


def test_harms__read_again_at_a_takeover__are_counted_once() -> None:
    """What another host told since this one's start is counted; what was known is not again."""
    told = [Event(1.0, SLASHED, JobId(1)), Event(2.0, MISSED, JobId(2))]
    reader = SimpleNamespace(last=lambda name: {one.job: one for one in told if one.name == name})
    metrics = Metrics()
    tally = Tally(metrics, StandingClock(3.0))
    for more in (None, Event(2.5, SLASHED, JobId(3)), None):
        told += [more] if more else []
        tally.restore(cast(Reader, reader))()
    tally.event(told[0])  # told again
    counted = metrics.registry.get_sample_value
    assert (counted("oyster_jobs_slashed_total"), counted("oyster_jobs_missed_total")) == (2, 1)
    assert tally.recent(60.0) == {"missed": 1, "refused": 0, "slashed": 2}
