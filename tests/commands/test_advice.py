"""`exit --advise`: leaving against staying."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import JobStatus, Price, Wei
from commands.advice import Advice, advise
from tests.agent.samples import JOB, NOW, TERMS

pytestmark = pytest.mark.unit

SECOND = Price(Price.SCALE)  # one base unit a second
RUNNING = replace(
    JOB, status=JobStatus.RUNNING, started_at=NOW - 100, settled_until=NOW, price=SECOND
)


def of(escrow: int, cost: Price | None, *, started: bool = True) -> Advice:
    job = replace(RUNNING if started else replace(JOB, price=SECOND), escrow=Wei(escrow))
    return advise(job, TERMS, NOW, cost, 5)


def test_advice__each_hour_leaves_something__stays() -> None:
    found = of(100_000, Price(Price.SCALE // 2))
    assert (found.verdict, found.stay.seconds, found.leave.seconds) == ("stay", 100_000, 3600)
    assert (found.stay.earns, found.stay.costs, found.stay.leaves) == (100_000, 50_000, 50_000)
    assert (found.stay.gas_wei, found.leave.gas_wei) == (5, 10)


def test_advice__each_hour_loses__leaves() -> None:
    found = of(100_000, Price(2 * Price.SCALE))
    assert found.verdict == "leave"
    assert (found.stay.leaves, found.leave.leaves) == (-100_000, -3600)


def test_advice__paid_for_less_than_the_cool_down__both_come_to_the_same() -> None:
    assert of(100, Price(2 * Price.SCALE)).verdict == "stay"


def test_advice__not_up_and_the_exit_passes_after_the_slash_point__stays() -> None:
    found = of(100_000, Price(2 * Price.SCALE), started=False)
    assert found.verdict == "stay"
    assert "slash point" in found.risk


def test_advice__cost_unknown__says_so() -> None:
    assert of(100_000, None).verdict == "unknown"


@given(st.integers(0, 10**9), st.integers(1, 10**13))
def test_advice__whatever_is_paid_and_costs__the_better_course_is_named(
    escrow: int, cost: int
) -> None:
    found = of(escrow, Price(cost))
    stay, leave = found.stay.leaves, found.leave.leaves
    assert stay is not None
    assert leave is not None
    assert found.leave.seconds <= found.stay.seconds
    assert (leave if found.verdict == "leave" else stay) == max(stay, leave)
