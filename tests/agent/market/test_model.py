"""The protocol's arithmetic, against a second-by-second reading of its fine print."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import (
    Address,
    Ending,
    InstanceType,
    Job,
    JobId,
    JobStatus,
    Params,
    Price,
    StopReason,
    Wei,
    accrued,
    address,
    bootstrap_deadline,
    dry_at,
    ending,
    exit_at,
    is_over,
    owed,
)
from faults import UsageFault

pytestmark = pytest.mark.unit

PARAMS = Params(Wei(10**18), 300, 600, 120, 2)
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
        if is_over(job, PARAMS, now):
            break
        due = accrued(job, PARAMS, now)
        job, paid = replace(job, escrow=Wei(job.escrow - due), settled_until=now), paid + due
        assert dry_at(job) == dry
        assert paid == owed(price, now - job.started_at)
    assert dry is not None
    assert paid + accrued(job, PARAMS, dry) == escrow


def test_dry_at__started_with_nothing_running__is_never() -> None:
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
    leaves, dry = exit_at(job, PARAMS), dry_at(job)
    assert leaves == 1 + requested + PARAMS.job_exit_cool_down
    if dry is not None and dry <= leaves:
        assert ending(job, PARAMS) == Ending(dry, StopReason.ESCROW_EXHAUSTED)
    else:
        assert ending(job, PARAMS) == Ending(leaves, StopReason.PROVIDER_EXIT)
    end = ending(job, PARAMS)
    assert end is not None
    assert not is_over(job, PARAMS, end.at - 1)
    assert is_over(job, PARAMS, end.at)


def test_ending__bootstrapping_without_exit__is_open() -> None:
    job = replace(JOB, status=JobStatus.BOOTSTRAPPING, started_at=0, settled_until=0)
    assert ending(job, PARAMS) is None
    assert not is_over(job, PARAMS, 10**12)
    assert bootstrap_deadline(job, PARAMS) == 1300


def test_ending__stopped_job__is_as_recorded_whatever_the_time() -> None:
    job = replace(
        JOB, status=JobStatus.STOPPED, stop_reason=StopReason.NO_PROVIDER, stopped_at=1300
    )
    assert ending(job, PARAMS) == Ending(1300, StopReason.NO_PROVIDER)
    assert is_over(job, PARAMS, 0)
    assert accrued(job, PARAMS, 10**12) == 0


def test_accrued__past_the_exit__stops_growing_at_exit() -> None:
    job = replace(JOB, status=JobStatus.EXITING, exit_requested_at=1110)
    assert accrued(job, PARAMS, 1229) == 129
    assert accrued(job, PARAMS, 9999) == 130


def test_address__any_case__is_checksummed_and_a_wrong_one_refused() -> None:
    assert address(PROVIDER.lower()) == PROVIDER
    assert address("0x" + PROVIDER[2:].upper()) == PROVIDER
    for wrong in (PROVIDER.replace("7E", "7e", 1), PROVIDER[:-1], "", "0x" + "g" * 40):
        with pytest.raises(UsageFault):
            address(wrong)


@pytest.mark.parametrize(
    "text", ["us-east-1/c6a.xlarge", "ap-southeast-2/m7i.24xlarge", "us-gov-west-1/r6g.metal",
             "eu-central-1/u-6tb1.112xlarge", "us-west-2/m7i.metal-24xl", "us-east-1/t3.nano"],
)  # fmt: skip
def test_instance_type__a_real_one__keeps_its_text(text: str) -> None:
    assert str(InstanceType.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "c6a.xlarge", "us-east-1/", "/c6a.xlarge", "us-east-1/c6a", "US-EAST-1/c6a.xlarge",
             "us-east-1/c6a.xlarge ", "us-east-1/c6a.xlarge/x", "us-east-1/../../etc", "a/b",
             "us-east-1/c6a.xlarge\n", "us-east-1/" + "c" * 70 + ".large"],
)  # fmt: skip
def test_instance_type__anything_else__is_a_usage_fault(text: str) -> None:
    with pytest.raises(UsageFault):
        InstanceType.parse(text)
