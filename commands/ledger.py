"""What `report` counts: each job's earnings, instances, gas and lost stake, and their days.

The chain has the money of jobs that are still this provider's; of one that was slashed away only
its events tell what it had paid. The journal has the instances, the gas and the slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from agent.chain.rpc import NodeRefused
from agent.journal.lines import ASSIGNED, SLASHED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.journal.transactions import TxJournal
from agent.market.model import Job, JobId
from agent.markets.registry.reads import registry_abi
from commands.context import Desk, Terms, terms_of
from commands.costs import Cost, costs_of
from commands.jobs import earned
from commands.journal import open_reader
from faults import RetryLater, TryElsewhere

DAY = 86_400
_MOST_JOBS = 100_000


@dataclass(frozen=True, slots=True)
class Line:
    """One job. `earned` in whole payment tokens (None: no node tells), `slashed` in whole POND."""

    job: JobId
    instance_type: str
    state: str  # "running", "ended" or "slashed"
    started_at: int  # 0: it never ran, or somebody else runs it now
    began: int  # the first launch's time where there is no start
    until: int
    earned: Fraction | None
    instance_hours: Fraction
    cost_rate: Cost
    hourly: Fraction | None  # of cost_rate, whole payment tokens
    gas_wei: int
    slashed: Fraction

    @property
    def cost(self) -> Fraction | None:
        """Of the instances, in whole payment tokens."""
        return None if self.hourly is None else self.hourly * self.instance_hours

    @property
    def margin(self) -> Fraction | None:
        """What the instances left of the earnings; gas and stake are other coins."""
        return None if self.earned is None or self.cost is None else self.earned - self.cost


@dataclass(frozen=True, slots=True)
class Day:
    """A day's part of all jobs (UTC); None where a job's part is unknown."""

    start: int
    earned: Fraction | None
    cost: Fraction | None
    gas_wei: int
    slashed: Fraction

    @property
    def margin(self) -> Fraction | None:
        return None if self.earned is None or self.cost is None else self.earned - self.cost


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything `report` shows, as of one block."""

    terms: Terms
    lines: Sequence[Line]
    days: Sequence[Day]


@dataclass(frozen=True, slots=True)
class _Books:
    """What the journal knows."""

    assigned: dict[JobId, Event]
    slashed: dict[JobId, Event]
    launches: dict[JobId, list[LaunchRecord]]
    gas: TxJournal


async def read_ledger(desk: Desk, after: float) -> Ledger:
    """Jobs that ended or run after `after` (unix seconds). Raises RetryLater, TryElsewhere."""
    terms = await terms_of(desk)
    with open_reader(desk.config) as reader:
        ids = {*reader.jobs(_MOST_JOBS), *await desk.market.jobs_of(desk.provider, terms.at)}
        jobs = await desk.market.jobs(sorted(ids), terms.at)
        books = _read_books(reader, sorted(ids))
        served = [job for job in jobs.values() if _served(desk, job, books)]
        costs = await costs_of(desk, [job.instance_type for job in served], terms.money)
        lines = [
            await _line(desk, terms, job, books, costs[job.instance_type])
            for job in sorted(served, key=lambda job: job.id)
        ]
        gas = books.gas.worst_fees_by_day(after)
    lines = [line for line in lines if line.until >= after]
    return Ledger(terms, lines, list(_days(lines, gas, after)))


def _read_books(reader: Reader, ids: Sequence[JobId]) -> _Books:
    return _Books(
        reader.last(ASSIGNED), reader.last(SLASHED), reader.launches(ids), TxJournal(reader.engine)
    )


def _served(desk: Desk, job: Job, books: _Books) -> bool:
    return job.provider == desk.provider or job.id in books.slashed


async def _line(desk: Desk, terms: Terms, job: Job, books: _Books, rate: Cost) -> Line:
    slash = books.slashed.get(job.id)
    until = int(slash.at) if slash else (job.stopped_at or terms.at.timestamp)
    launches = books.launches.get(job.id, [])
    started = job.started_at if job.provider == desk.provider else 0
    price = rate.price
    return Line(
        job=job.id,
        instance_type=job.instance_type,
        state="slashed" if slash else ("ended" if job.stopped_at else "running"),
        started_at=started,
        began=started or int(min((each.at for each in launches), default=0)),
        until=until,
        earned=await _earned(desk, terms, job),
        instance_hours=_instance_hours(launches, until),
        cost_rate=rate,
        hourly=None if price is None else price.per("h", terms.money.decimals),
        gas_wei=books.gas.worst_fees(job=job.id),
        slashed=_lost(slash, terms),
    )


def _lost(slash: Event | None, terms: Terms) -> Fraction:
    """Whole POND that the contract took; StakePerJob where the log had no amount."""
    if slash is None:
        return Fraction(0)
    amount = int(slash.fields.get("amount", 0)) or terms.params.stake_per_job
    return Fraction(amount, 10**terms.pond.decimals)


async def _earned(desk: Desk, terms: Terms, job: Job) -> Fraction | None:
    unit = 10**terms.money.decimals
    if job.provider == desk.provider:
        return Fraction(earned(job, terms), unit)
    paid = await _paid(desk, terms, job)
    return None if paid is None else Fraction(paid, unit)


async def _paid(desk: Desk, terms: Terms, job: Job) -> int | None:
    """What a job that is somebody else's now had paid us: the sum of its JobSettled events.

    None when no node answers a search through all blocks for one job and one provider.
    """
    topics = [
        registry_abi().topics["JobSettled"],
        f"0x{job.id:064x}",
        f"0x{int(desk.provider, 16):064x}",
    ]
    query = {
        "address": desk.registry, "topics": topics, "fromBlock": "0x0",
        "toBlock": hex(terms.at.number),
    }  # fmt: skip
    try:
        logs = await desk.endpoints.call("eth_getLogs", query)
        return sum(int(str(each["data"]), 16) for each in logs)
    except (NodeRefused, RetryLater, TryElsewhere, TypeError, ValueError, KeyError):
        return None


def _instance_hours(launches: Sequence[LaunchRecord], until: float) -> Fraction:
    """From each launch to the next one's, the last to the job's end: what EC2 bills, closely."""
    starts = [each.at for each in launches if each.instance and each.phase == "launched"]
    ends = [*starts[1:], until]
    seconds = sum(max(0.0, end - at) for at, end in zip(starts, ends, strict=False))
    return Fraction(round(seconds * 1000), 3_600_000)


def _days(lines: Iterable[Line], gas: dict[int, int], after: float) -> Iterator[Day]:
    """Earnings and costs spread over the seconds they are of; gas and slashes where they fell."""
    parts: dict[int, list[tuple[Fraction | None, Fraction | None, Fraction]]] = {}
    for line in lines:
        for day, share in _spread(line.began, line.until):
            earned = None if line.earned is None else share * line.earned
            cost = None if line.cost is None else share * line.cost
            parts.setdefault(day, []).append((earned, cost, Fraction(0)))
        if line.slashed:
            zero = Fraction(0)
            parts.setdefault(_day(line.until), []).append((zero, zero, line.slashed))
    for day in sorted({*parts, *gas}):
        if day + DAY > after:
            own = parts.get(day, [])
            yield Day(
                day,
                _sum(earned for earned, _, _ in own),
                _sum(cost for _, cost, _ in own),
                gas.get(day, 0),
                sum((slashed for _, _, slashed in own), Fraction(0)),
            )


def _spread(start: int, end: int) -> Iterator[tuple[int, Fraction]]:
    """The days (first second, UTC) that [start, end) touches, and its part in each.

    What has no length, or no known start, is the last day's.
    """
    if not start or end <= start:
        yield _day(end), Fraction(1)
        return
    for day in range(_day(start), end, DAY):
        inside = min(end, day + DAY) - max(start, day)
        yield day, Fraction(inside, end - start)


def _day(at: int) -> int:
    return at - at % DAY


def _sum(amounts: Iterable[Fraction | None]) -> Fraction | None:
    """None when one of them is unknown."""
    total = Fraction(0)
    for each in amounts:
        if each is None:
            return None
        total += each
    return total


def total(lines: Sequence[Line], days: Sequence[Day]) -> Day:
    """All lines together; gas of every transaction, also of those that are for no job."""
    return Day(
        0,
        _sum(line.earned for line in lines),
        _sum(line.cost for line in lines),
        sum(day.gas_wei for day in days),
        sum((line.slashed for line in lines), Fraction(0)),
    )
