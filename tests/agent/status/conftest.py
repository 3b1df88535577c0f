"""A provider with a few jobs in every state, and a clock that stands still."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.markets.marketv1.cards import RateCard, TrafficRate
from agent.ports import Clock
from agent.status.cockpit import Figures, PastRow
from agent.status.finding import Found, Query, find
from agent.status.source import (
    CallRow,
    Census,
    ChainRow,
    Crowd,
    EndpointRow,
    JobRow,
    JobState,
    MoneyRow,
    StageRow,
    TypeRow,
    View,
)
from faults import RetryLater
from tests.clocks import MovingClock

NOW = 1_900_000_000.0
HOUR_PRICE = 47_222_222_222_222  # 0.17/h of a token with 6 decimals, x 10^12 a second
USDC = 10**6


@dataclass(frozen=True, slots=True)
class Shown(View):
    """The agent at one moment, with its jobs."""

    jobs: tuple[JobRow, ...] = ()


@dataclass
class Source:
    """A StatusSource that shows what a test gives it."""

    shown: Shown
    clock: Clock = field(default_factory=lambda: MovingClock(NOW))
    problems: list[str] = field(default_factory=list)
    cards: Sequence[RateCard] = ()
    traffic: Sequence[TrafficRate] = ()

    def progress_at(self) -> float:
        return self.shown.progress_at

    def summary(self) -> View:
        values = {each.name: getattr(self.shown, each.name) for each in dataclasses.fields(View)}
        return View(**values)

    def census(self) -> Census:
        jobs = self.shown.jobs
        coming = [job for job in jobs if job.state is JobState.BOOTSTRAPPING and job.deadline]
        now = self.clock.now()
        spans = [(job.deadline - now, job.deadline - job.since) for job in coming if job.deadline]
        return Census(
            Counter(job.state for job in jobs),
            min((left for left, _ in spans), default=None),
            min((left / span for left, span in spans if span > 0), default=None),
        )

    def job(self, number: int) -> JobRow | None:
        return next((job for job in self.shown.jobs if job.id == number), None)

    def jobs(self) -> Iterator[JobRow]:
        return iter(self.shown.jobs)

    def find(self, query: Query) -> Crowd:
        jobs = self.shown.jobs
        page = find(jobs, query, str, {"": _urgency, "id": lambda job: job.id})
        starting = [job.deadline for job in jobs if job.state is JobState.BOOTSTRAPPING]
        counts = Counter(job.state for job in jobs)
        return Crowd(page, counts, min(filter(None, starting), default=None))

    def card_files(self) -> tuple[Sequence[RateCard], Sequence[TrafficRate]]:
        return self.cards, self.traffic

    def change(self, **values: object) -> None:
        self.shown = dataclasses.replace(self.shown, **values)  # type: ignore[arg-type]  # by field name


def _urgency(job: JobRow) -> tuple[bool, float]:
    return job.state is not JobState.BOOTSTRAPPING, job.deadline or float("inf")


@dataclass
class Past:
    """A History that shows what a test gives it."""

    known: Figures = field(default_factory=Figures)
    rows: tuple[PastRow, ...] = ()
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    away: str = ""

    def figures(self) -> Figures:
        return self.known

    async def past(self, query: Query) -> Found[PastRow]:
        if self.away:
            raise RetryLater(self.away)
        orders = {"": lambda row: -row.id, "id": lambda row: row.id}
        return find(self.rows, query, str, orders)

    async def job(self, number: int) -> dict[str, Any] | None:
        if self.away:
            raise RetryLater(self.away)
        return self.jobs.get(number)


def a_view(now: float = NOW) -> Shown:
    """Four jobs: one on its way, one that runs, one that leaves, one that the user ended."""
    starting = JobRow(
        id=118, generation=2, instance_type="us-east-1/c6a.xlarge", state=JobState.BOOTSTRAPPING,
        stage="enclave", since=now - 6, price=HOUR_PRICE, escrow=12 * USDC, deadline=now + 71,
        deadline_is="slash point", usual_seconds=12, instance="i-0f3a9c1de4b7a2215",
        zone="us-east-1c", public_ip="198.51.100.24",
        note="us-east-1a had no room for c6a.xlarge; launched in us-east-1c",
        stages=(
            StageRow("launch", now - 49, now - 28), StageRow("boot", now - 28, now - 14),
            StageRow("image", now - 49, now - 6), StageRow("enclave", now - 6),
        ),
    )  # fmt: skip
    running = JobRow(
        id=97, generation=1, instance_type="us-east-1/c6a.2xlarge", state=JobState.RUNNING,
        stage="running", since=now - 8 * 3600, price=2 * HOUR_PRICE, earned=2_720_000,
        escrow=21_900_000, deadline=now + 231_882, deadline_is="the escrow is empty",
        instance="i-08d21b7f33e0c9a41", zone="us-east-1a", public_ip="198.51.100.7",
    )  # fmt: skip
    exiting = dataclasses.replace(
        running, id=84, instance_type="eu-west-1/m6g.large", state=JobState.EXITING,
        stage="cool-down", since=now - 1200, price=HOUR_PRICE // 2, earned=9_400_000,
        escrow=410_000, deadline=now + 2400, deadline_is="the cool-down is over",
        instance="i-0b77f0c2a1d948e30", zone="eu-west-1b", public_ip="203.0.113.80",
    )  # fmt: skip
    ending = dataclasses.replace(
        running, id=79, state=JobState.ENDING, stage="terminating", since=now - 31, deadline=None,
        escrow=0, earned=14_020_000, instance="i-0c1f5d2277ab41e09", public_ip="",
    )  # fmt: skip
    return Shown(
        provider="0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf",
        registry="0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF", chain_id=42161, version="0.1.0",
        started_at=now - 432_000, progress_at=now - 1, jobs=(running, starting, ending, exiting),
        notices=("us-east-1/c6a.xlarge: two more jobs fit, then the vCPU quota is used up",),
        types=(
            TypeRow("us-east-1/c6a.xlarge", HOUR_PRICE, True, 2, "quota", 4, 8192, "x86_64", 1562),
            TypeRow("us-east-1/c6a.2xlarge", 2 * HOUR_PRICE, True, 1, "quota", 8, 16384, "x86_64"),
            TypeRow("eu-west-1/m6g.large", HOUR_PRICE // 2, False, 0, "stake", 2, 8192, "arm64"),
        ),
        chain=ChainRow(
            271_828_182, now - 1, 271_827_000,
            (EndpointRow("https://arb.example/…", True), EndpointRow("https://node.two", True, 2)),
        ),
        money=MoneyRow(
            earned_today=6_124_000, earned_total=1_318_450_000, rate=3 * HOUR_PRICE,
            stake_total=5000 * 10**18, stake_locked=4000 * 10**18,
            coin_balance=184_200_000_000_000_000, gas_day=2_310_000_000_000_000,
            gas_day_budget=5 * 10**17,
        ),
        regions=("eu-west-1", "us-east-1"),
        aws_calls=(CallRow("us-east-1", "RunInstances", 41, 3),),
    )  # fmt: skip


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock(NOW)


@pytest.fixture
def source(clock: MovingClock) -> Source:
    return Source(a_view(), clock)
