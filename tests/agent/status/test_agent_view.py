"""What the status page says of a job: what its end waits for, and its money."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.market.model import Ending, JobStatus, StopReason, Wei
from agent.status.job_rows import money_of, waits_for
from tests.agent.samples import JOB, NOW, TERMS

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
