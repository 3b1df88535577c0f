"""The registry's arithmetic, against a second-by-second reading of its fine print."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import Address, Ending, Job, JobId, JobStatus, Price, StopReason, Wei
from agent.market.terms import Due, DueKind
from agent.markets.registry.terms import RegistryTerms, dry_at, owed

pytestmark = pytest.mark.unit

TERMS = RegistryTerms(Wei(10**18), 300, 600, 120, 2)
PROVIDER = Address("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
JOB = Job(
    id=JobId(1), user=PROVIDER, provider=PROVIDER, instance_type="us-east-1/c6a.xlarge",
    max_price=Price(10**12), price=Price(10**12), enclave_url="ipfs://x", generation=1,
    status=JobStatus.RUNNING, stop_reason=StopReason.NONE, assigned_at=1000, started_at=1100,
    exit_requested_at=0, stopped_at=0, escrow=Wei(500), settled_until=1100, endpoint="a:1",
)  # fmt: skip

small_prices = st.integers(1, 10**14).map(Price)
escrows = st.integers(0, 2000).map(Wei)


@given(small_prices, escrows)
def test_dry_at__any_job__is_the_first_second_that_owes_it_all(price: Price, escrow: Wei) -> None:
    job = replace(JOB, price=price, escrow=escrow)
    dry = dry_at(job)
    assert dry is not None
    assert owed(price, dry - job.started_at) >= escrow
    assert dry == job.started_at or owed(price, dry - 1 - job.started_at) < escrow


@given(small_prices, st.integers(1, 2000), st.lists(st.integers(0, 400), max_size=8))
def test_dry_at__settled_however_often__stays_the_same(
    price: Price, escrow: int, steps: list[int]
) -> None:
    job = replace(JOB, price=price, escrow=Wei(escrow))
    dry, now, paid = dry_at(job), job.started_at, 0
    for step in steps:
        now += step
        if TERMS.is_over(job, now):
            break
        due = TERMS.accrued(job, now)
        job, paid = replace(job, escrow=Wei(job.escrow - due), settled_until=now), paid + due
        assert dry_at(job) == dry
        assert paid == owed(price, now - job.started_at)
    assert dry is not None
    assert paid + TERMS.accrued(job, dry) == escrow


def test_dry_at__started_with_nothing_running__is_never() -> None:
    assert dry_at(replace(JOB, price=Price(0))) is None
    assert dry_at(replace(JOB, started_at=0, settled_until=0)) is None
    assert dry_at(replace(JOB, status=JobStatus.STOPPED, escrow=Wei(0))) is None


@given(small_prices, escrows, st.integers(0, 3000), st.booleans())
def test_ending__dry_and_exit__earlier_second_decides_and_dry_wins_ties(
    price: Price, escrow: Wei, requested: int, started: bool
) -> None:
    job = replace(
        JOB, price=price, escrow=escrow, status=JobStatus.EXITING, exit_requested_at=1 + requested,
        started_at=1100 if started else 0, settled_until=1100 if started else 0,
    )  # fmt: skip
    leaves, dry = TERMS.exit_at(job), dry_at(job)
    assert leaves == 1 + requested + TERMS.job_exit_cool_down
    if dry is not None and dry <= leaves:
        assert TERMS.ending(job) == Ending(dry, StopReason.ESCROW_EXHAUSTED)
    else:
        assert TERMS.ending(job) == Ending(leaves, StopReason.PROVIDER_EXIT)
    end = TERMS.ending(job)
    assert end is not None
    assert not TERMS.is_over(job, end.at - 1)
    assert TERMS.is_over(job, end.at)


def test_ending__bootstrapping_without_exit__is_open() -> None:
    job = replace(JOB, status=JobStatus.BOOTSTRAPPING, started_at=0, settled_until=0)
    assert TERMS.ending(job) is None
    assert not TERMS.is_over(job, 10**12)
    assert TERMS.due(job) == Due(1300, DueKind.SLASH)


def test_ending__stopped_job__is_as_recorded_whatever_the_time() -> None:
    job = replace(
        JOB, status=JobStatus.STOPPED, stop_reason=StopReason.NO_PROVIDER, stopped_at=1300
    )
    assert TERMS.ending(job) == Ending(1300, StopReason.NO_PROVIDER)
    assert TERMS.is_over(job, 0)
    assert TERMS.accrued(job, 10**12) == 0


def test_accrued__past_the_exit__stops_growing_at_exit() -> None:
    job = replace(JOB, status=JobStatus.EXITING, exit_requested_at=1110)
    assert TERMS.accrued(job, 1229) == 129
    assert TERMS.accrued(job, 9999) == 130


@given(small_prices, st.integers(0, 2000), st.integers(0, 3000), st.integers(0, 3000))
def test_earned__since_any_second__is_what_came_after_it(
    price: Price, escrow: int, first: int, second: int
) -> None:
    job, since, now = replace(JOB, price=price, escrow=Wei(escrow)), *sorted((first, second))
    whole = TERMS.earned(job, JOB.started_at + now)
    before = owed(price, since) if since else 0
    assert TERMS.earned(job, JOB.started_at + now, JOB.started_at + since) == max(0, whole - before)
