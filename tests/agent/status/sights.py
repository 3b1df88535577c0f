"""What the page is shown in its tests: no job, many, trouble, one job, past ones."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from agent.journal.lines import ASSIGNED, ATTESTED, ENDED, Event
from agent.load.remembered import JobMemory
from agent.market.model import Address, JobId, JobStatus, StopReason, Wei
from agent.status.cockpit import DayRow, Figures, Harm, PastRow, RankRow, StartRow
from agent.status.days import DAY, midnight
from agent.status.explorer import Explorer
from agent.status.health import Grade, Health, Part
from agent.status.job_page import JobFacts, to_json
from agent.status.notebook import Chapter
from agent.status.source import JobRow, JobState, MarketRow, TypeRow
from agent.status.starts import starts_of
from tests.agent.samples import IMAGE, JOB, TERMS

from .conftest import HOUR_PRICE, USDC, Shown
from .conftest import a_view as bare_view

TX = "0x" + "ab" * 32
HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
PCRS = {number: f"{number}" + "c4" * 47 + "d" for number in range(3)}


_HARMS = {8: {"refused": 2}, 17: {"missed": 1, "slashed": 1}, 25: {"missed": 1}}


def figures(now: float) -> Figures:
    """A month: earnings that grow, a day at a loss, one whose cost nobody knows, two misses."""
    today = midnight(now)
    days = tuple(
        DayRow(
            today - (29 - n) * DAY, earned=(40 + 3 * n + 9 * (n % 5)) * USDC,
            cost=None if n == 11 else (34 + 2 * n + (60 if n == 20 else 0)) * USDC,
            gas=n * 10**14, slashed=100 * 10**18 if n == 17 else 0,
            harms=_HARMS.get(n, {}),
        )
        for n in range(30)
    )  # fmt: skip
    rows = [StartRow(n, 20 + (n * 7919) % 31 + n % 9, now - n * 3600) for n in range(1, 240)]
    rows.append(StartRow(31, 112, now - 4 * DAY))
    return Figures(
        at=now, days=days, starts=starts_of(rows, 2, 120),
        ranks=(
            RankRow("us-east-1/c6a.xlarge", 2, 5, HOUR_PRICE, HOUR_PRICE - 10**12),
            RankRow("us-east-1/c6a.2xlarge", 1, 1, 2 * HOUR_PRICE, None),
            RankRow("eu-west-1/m6g.large", None, 3, None, HOUR_PRICE // 3),
        ),
        harms=(
            Harm(now - 4 * DAY, "missed", 77, "not started by 2026-11-24 10:00:00 UTC"),
            Harm(now - 12 * DAY, "slashed", 41, "stake was slashed for this job: 100 POND"),
        ),
        gas_days=41.5,
    )  # fmt: skip


WELL = (
    Part("region", "us-east-1", Grade.OK, "is seen"),
    Part("region", "eu-west-1", Grade.OK, "is seen"),
    Part("credentials", "", Grade.OK, "are taken"),
    Part("node", "arb.example", Grade.OK, "is used"),
    Part("node", "node.two", Grade.OK, "is used"),
)


def a_view(now: float) -> Shown:
    """A provider whose world is well, on a chain with an explorer."""
    view = bare_view(now)
    types = (
        replace(view.types[0], margin=0.012),
        replace(view.types[1], margin=0.024),
        view.types[2],
    )
    money = replace(view.money, stake_jobs=10, gas_jobs=612.4)
    return replace(
        view, explorer="https://arbiscan.io", health=Health(WELL), types=types, money=money
    )  # fmt: skip


def cards_view(now: float) -> Shown:
    """A market with rate cards, without stakes, windows and ranks; nothing fits on one type."""
    view = a_view(now)
    full = replace(view.types[2], listed=False, hidden=True, limited_by="vCPU quota L-1216C47A")
    money = replace(
        view.money, stake_symbol="", stake_decimals=0, stake_total=0, stake_locked=0,
        stake_jobs=None, window_seconds=0, goal_seconds=180,
    )  # fmt: skip
    jobs = tuple(
        replace(job, deadline_is="goal") if job.state is JobState.BOOTSTRAPPING else job
        for job in view.jobs
        if job.state is not JobState.EXITING
    )
    return replace(
        view, market=MarketRow(has_stake=False, lists_on_chain=False, slashes=False), jobs=jobs,
        types=(*view.types[:2], full), money=money,
    )  # fmt: skip


def cards_figures(now: float) -> Figures:
    """What lies behind it: a goal, and nothing to be ranked by."""
    known = figures(now)
    starts = replace(known.starts, window_seconds=0, goal_seconds=180)
    days = tuple(replace(day, harms={"refused": 1}, slashed=0) for day in known.days)
    return replace(known, days=days, starts=starts, ranks=(), harms=())


def quiet_view(now: float) -> Shown:
    """A provider on its first day."""
    return replace(a_view(now), jobs=(), notices=(), types=())


def crowded_view(now: float, many: int = 1000) -> Shown:
    """Most of them run; some come up."""
    view = a_view(now)
    running = next(job for job in view.jobs if job.state is JobState.RUNNING)
    starting = next(job for job in view.jobs if job.state is JobState.BOOTSTRAPPING)
    return replace(view, jobs=tuple(_one(number, running, starting) for number in range(many)))


def _one(number: int, running: JobRow, starting: JobRow) -> JobRow:
    base = starting if number % 97 == 0 else running
    where = ("us-east-1", "eu-west-1")[number % 2]
    return dataclasses.replace(
        base, id=number + 1, instance_type=f"{where}/c6a.xlarge", instance=f"i-{number:017x}",
        public_ip=f"198.51.{number >> 8}.{number & 255}",
    )  # fmt: skip


def troubled_view(now: float) -> Shown:
    """A region away, a node that lags, offers that can't be served, hostile words everywhere."""
    view = a_view(now)
    parts = (
        Part("region", "us-east-1", Grade.FAIL, "AWS was not seen for 70 s (no answer)"),
        Part("region", "eu-west-1", Grade.OK, "is seen"),
        Part("credentials", "", Grade.OK, "are taken"),
        Part("node", "https://node.two", Grade.WARN, "401 Unauthorized", "see `doctor`"),
        Part("jobs", "", Grade.WARN, "1 missed within the hour: a stake", "see `jobs list --all`"),
    )
    hostile = replace(
        view.jobs[0], id=666, instance_type=f"us-east-1/{HOSTILE}", note=HOSTILE,
        instance=HOSTILE,
    )  # fmt: skip
    late = replace(view.jobs[1], id=667, deadline=now - 300)
    offer = TypeRow(
        f"us-east-1/{HOSTILE}"[:64], HOUR_PRICE, False, 0, "vCPU quota L-1216C47A", margin=-0.0315,
        trouble="the market answered: execution reverted",
    )  # fmt: skip
    jobs, types = (*view.jobs, hostile, late), (*view.types, offer)
    odd = f"odd `{HOSTILE}"
    return replace(view, health=Health(parts), jobs=jobs, types=types, notices=(odd,))


def past_rows(now: float, many: int = 1000) -> tuple[PastRow, ...]:
    ends = ("user_request", "escrow_exhausted", "provider_exit", "")
    return tuple(
        PastRow(
            number, f"us-east-1/{HOSTILE}" if number == many else "us-east-1/c6a.xlarge",
            now - number * 7000, now - number * 5000, ends[number % 4],
            ("missed", "slashed") if number % 50 == 0 else (),
            None if number % 50 == 0 else 20.5 + number % 40, number * 1234,
        )
        for number in range(1, many + 1)
    )  # fmt: skip


def job_json(now: float, number: int = 97) -> dict[str, object]:
    """The page of a job that ran, with everything that there can be; its user wrote mischief."""
    job = replace(
        JOB, id=JobId(number), user=Address("0x" + "ab" * 20), status=JobStatus.RUNNING,
        stop_reason=StopReason.NONE, assigned_at=int(now) - 8000, started_at=int(now) - 7950,
        escrow=Wei(21 * USDC), enclave_url=f"ipfs://{HOSTILE}", endpoint="198.51.100.7:1300",
        instance_type=f"us-east-1/{HOSTILE}"[:64],
    )  # fmt: skip
    begun = now - 8000
    timeline = [
        Event(begun, ASSIGNED, job.id, 1, 20, "", {"url": HOSTILE, "instance_type": "t"}),
        Event(begun + 1, "launch.launched", job.id, 1, 20, "", {"instance": "i-1", "attempt": 1}),
        Event(begun + 44, ATTESTED, job.id, 1, 20, "", {"instance": "i-1", "run": "g1a1r0"}),
        Event(begun + 50, "tx.report_started", job.id, 1, 20, "", {"tx": TX, "fee_wei": "12"}),
        Event(begun + 60, "tx.settled", job.id, 1, 20, "", {"tx": f"javascript:{HOSTILE}"}),
        Event(begun + 61, "tx.later", job.id, 1, 30, HOSTILE, {HOSTILE: HOSTILE}),
        Event(begun + 62, "job.missed", job.id, 1, 40, "not started in time", {}),
        Event(begun + 63, ENDED, job.id, 1, 20, "user_request", {}),
    ]
    memory = JobMemory(job.id)
    memory.image = replace(memory.image, image=replace(IMAGE, cid="bafy" + "a" * 55, pcrs=PCRS))
    harm = Harm(begun + 62, "missed", number, "not started in time")
    chapter = Chapter("us-east-1/c6a.xlarge", begun, begun + 44, harms={"missed": harm})
    row = next(job for job in a_view(now).jobs if job.state is JobState.BOOTSTRAPPING)
    return to_json(
        JobFacts(
            id=job.id, now=now, job=job, terms=TERMS, memory=memory, row=row, timeline=timeline,
            chapter=chapter, cost=1_930_000, gas=3 * 10**14, attested=timeline[2], hosts=(),
            explorer=Explorer("https://arbiscan.io"), window_seconds=120,
            up_seconds=50.0, earned=TERMS.earned(job, int(now)),
        )
    )  # fmt: skip
