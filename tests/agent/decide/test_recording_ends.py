"""Which call shows the chain that a job is over, and when another one is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.decide.ending import EndingRules, record_end
from agent.decide.job_view import JobView, TxPhase, TxView
from agent.decide.plan import Draft, FinalizeExit
from agent.market.model import JobStatus
from agent.ports import Call
from tests.agent.samples import ACCOUNT, BLOCK, JOB, NOW, TERMS

pytestmark = pytest.mark.unit

ASKED = NOW - TERMS.job_exit_cool_down - 10


def _recorded(others: Mapping[str, TxView] = {}, **sent: TxView) -> list[str]:
    """The keys of what is sent for an exit whose cool-down passed ten seconds ago."""
    job = replace(JOB, started_at=ASKED - 10, exit_requested_at=ASKED, status=JobStatus.RUNNING)
    call = Call.FINALIZE_EXIT.value
    calls = {f"{JOB.id}:{JOB.generation}:{call}:{end}:0": tx for end, tx in sent.items()}
    calls |= {f"{JOB.id}:{JOB.generation + 1}:{call}:{end}:0": tx for end, tx in others.items()}
    view = JobView(JOB.id, ACCOUNT, TERMS, BLOCK, job, transactions=calls)
    draft, end = Draft("running"), TERMS.ending(job)
    assert end is not None
    record_end(view, end, NOW, draft, EndingRules())
    return [action.order.key for action in draft.actions if isinstance(action, FinalizeExit)]


def test_end__nothing_was_sent__is_recorded() -> None:
    assert len(_recorded()) == 1


def test_end__the_call_is_on_its_way_for_an_end_of_another_story__is_not_sent_beside_it() -> None:
    assert _recorded(end7=TxView(TxPhase.SENT, NOW - 3)) == []
    assert _recorded({"end7": TxView(TxPhase.SENT, NOW - 3)}) == []  # of another assignment, even


@pytest.mark.parametrize("phase", [TxPhase.REFUSED, TxPhase.LATER])
def test_end__the_call_for_another_end_came_to_nothing__is_recorded(phase: TxPhase) -> None:
    assert len(_recorded(end7=TxView(phase, NOW - 3, retry_at=NOW + 60))) == 1
