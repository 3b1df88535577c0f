"""What `report` counts: each job's earnings, instances, gas and lost stake, and their days.

The chain has the money of jobs that are still this provider's; of one that was slashed away only
its events tell what it had paid. The journal has the instances, the gas and the slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from agent.chain.rpc import NodeRefused
from agent.journal.lines import SLASHED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.journal.transactions import TxJournal
from agent.load.cost_history import CostHistory
from agent.market.model import Job, JobId
from agent.markets.token import Token
from commands.context import Desk, Standing, standing_of
from commands.costs import Cost, costs_of
from commands.journal import open_reader
from commands.kept_ids import own_jobs
from commands.told import Told, read_settlements, tell
from faults import RetryLater, TryElsewhere

DAY = 86_400
_MOST_JOBS = 100_000


@dataclass(frozen=True, slots=True)
class Spent:
    """A job's instances within one day at one price. `cost` in whole payment tokens; None: it is
    not known what an hour cost."""

    day: int
    hours: Fraction
    cost: Fraction | None
    source: str


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
    spent: Sequence[Spent]
    cost_rate: Cost  # of now
    now_hourly: Fraction | None  # of cost_rate, whole payment tokens
    gas_wei: int
    slashed: Fraction

    @property
    def instance_hours(self) -> Fraction:
        return sum((one.hours for one in self.spent), Fraction(0))

    @property
    def cost(self) -> Fraction | None:
        """Of the instances, each hour at what it cost then; in whole payment tokens."""
        return _sum(one.cost for one in self.spent)

    @property
    def hourly(self) -> Fraction | None:
        """What an hour cost in the mean; of now, where nothing ran."""
        hours, cost = self.instance_hours, self.cost
        return self.now_hourly if not hours or cost is None else cost / hours

    @property
    def cost_source(self) -> str:
        """Who says so, one after the other."""
        return ", then ".join(dict.fromkeys(one.source for one in self.spent)) or (
            self.cost_rate.source
        )

    @property
    def margin(self) -> Fraction | None:
        """What the instances left of the earnings; gas and stake are other coins."""
        return None if self.earned is None or self.cost is None else self.earned - self.cost


@dataclass(frozen=True, slots=True)
class Day:
    """A day's, or a month's, part of all jobs (UTC); None where a job's part is unknown."""

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

    standing: Standing
    lines: Sequence[Line]
    days: Sequence[Day]

    @property
    def months(self) -> Sequence[Day]:
        """The days, a calendar month together."""
        found: dict[int, list[Day]] = {}
        for day in self.days:
            found.setdefault(_month(day.start), []).append(day)
        return [_together(start, days) for start, days in sorted(found.items())]


@dataclass(frozen=True, slots=True)
class _Books:
    """What the journal knows."""

    slashed: dict[JobId, Event]
    launches: dict[JobId, list[LaunchRecord]]
    gas: TxJournal
    costs: CostHistory


async def read_ledger(desk: Desk, after: float) -> Ledger:
    """Jobs that ended or run after `after` (unix seconds). Raises RetryLater, TryElsewhere."""
    standing = await standing_of(desk)
    with open_reader(desk.config) as reader:
        active = await own_jobs(desk, reader, standing.at)
        ids = {*reader.jobs(_MOST_JOBS), *active}
        jobs = await desk.reads.jobs(sorted(ids), standing.at)
        books = _read_books(reader, sorted(ids))
        told = await tell(desk, standing, reader, jobs.values())
        served = [one for one in told.values() if _served(desk, one, books)]
        costs = await costs_of(desk, [one.job.instance_type for one in served], standing.money)
        lines = [
            await _line(desk, standing, one, books, costs[one.job.instance_type])
            for one in sorted(served, key=lambda one: one.job.id)
        ]
        gas = books.gas.worst_fees_by_day(after)
    lines = [line for line in lines if line.until >= after]
    return Ledger(standing, lines, list(_days(lines, gas, after)))


def _read_books(reader: Reader, ids: Sequence[JobId]) -> _Books:
    launches, gas = reader.launches(ids), TxJournal(reader.engine)
    return _Books(reader.last(SLASHED), launches, gas, CostHistory.read(reader))


def _served(desk: Desk, told: Told, books: _Books) -> bool:
    job = told.job
    if told.refused and not told.job.started_at and not told.earned:
        return job.id in books.launches or job.id in books.slashed
    return job.provider == desk.provider or job.id in books.slashed


async def _line(desk: Desk, standing: Standing, told: Told, books: _Books, rate: Cost) -> Line:
    job, slash = told.job, books.slashed.get(told.job.id)
    until = int(slash.at) if slash else _until(told, standing)
    launches = books.launches.get(job.id, [])
    started = job.started_at if job.provider == desk.provider else 0
    price = rate.price
    return Line(
        job=job.id,
        instance_type=job.instance_type,
        state="slashed" if slash else ("ended" if _over(told, standing) else "running"),
        started_at=started,
        began=started or int(min((each.at for each in launches), default=0)),
        until=until,
        earned=await _earned(desk, standing, told),
        spent=list(_spent(job.instance_type, launches, until, rate, books, standing.money)),
        cost_rate=rate,
        now_hourly=None if price is None else price.per("h", standing.money.decimals),
        gas_wei=books.gas.worst_fees(job=job.id),
        slashed=_lost(slash, standing, job),
    )


def _over(told: Told, standing: Standing) -> bool:
    return told.job.is_stopped or standing.terms.is_over(told.job, standing.at.timestamp)


def _until(told: Told, standing: Standing) -> int:
    """Until when it was served: its end, where it has one by now."""
    job, now = told.job, standing.at.timestamp
    end = standing.terms.ending(job) if _over(told, standing) and not job.is_stopped else None
    return job.stopped_at or (min(end.at, now) if end else now)


def _lost(slash: Event | None, standing: Standing, job: Job) -> Fraction:
    """Whole POND that the contract took; what the job can lose where the log had no amount."""
    pond = standing.holdings.pond
    if slash is None or pond is None:
        return Fraction(0)
    amount = int(slash.fields.get("amount", 0)) or standing.terms.at_risk(job)
    return Fraction(amount, 10**pond.decimals)


async def _earned(desk: Desk, standing: Standing, told: Told) -> Fraction | None:
    ours = told.job.provider == desk.provider
    units = told.earned if ours else await _paid(desk, standing, told.job)
    return None if units is None else Fraction(units, 10**standing.money.decimals)


async def _paid(desk: Desk, standing: Standing, job: Job) -> int | None:
    """What a job that is somebody else's now had paid us: the sum of its settlements.

    None when no node answers a search through all blocks for one job and one provider.
    """
    try:
        found = await read_settlements(desk, standing, [job.id], 0)
    except (NodeRefused, RetryLater, TryElsewhere):
        return None
    return sum(each.amount for each in found)


def _spent(
    kind: str,
    launches: Sequence[LaunchRecord],
    until: float,
    now: Cost,
    books: _Books,
    money: Token,
) -> Iterator[Spent]:
    """From each launch to the next one's, the last to the job's end (what EC2 bills, closely), by
    day and by what the type cost then."""
    starts = [each.at for each in launches if each.instance and each.phase == "launched"]
    for start, end in zip(starts, [*starts[1:], until], strict=False):
        for span in books.costs.spans(kind, start, end, now):
            for day, seconds in _by_day(span.start, span.end):
                hours, price = Fraction(round(seconds * 1000), 3_600_000), span.cost.price
                cost = None if price is None else hours * price.per("h", money.decimals)
                yield Spent(day, hours, cost, span.cost.source)


def _by_day(start: float, end: float) -> Iterator[tuple[int, float]]:
    """The days that [start, end) touches, and its seconds in each."""
    for day in range(_day(int(start)), int(end) + 1, DAY):
        inside = min(end, day + DAY) - max(start, day)
        if inside > 0:
            yield day, inside


def _days(lines: Iterable[Line], gas: dict[int, int], after: float) -> Iterator[Day]:
    """Earnings spread over the seconds they are of, all else where it fell."""
    parts: dict[int, list[tuple[Fraction | None, Fraction | None, Fraction]]] = {}
    for line in lines:
        for day, share in _spread(line.began, line.until):
            earned = None if line.earned is None else share * line.earned
            parts.setdefault(day, []).append((earned, Fraction(0), Fraction(0)))
        for one in line.spent:
            parts.setdefault(one.day, []).append((Fraction(0), one.cost, Fraction(0)))
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


def _month(at: int) -> int:
    """The first second of its calendar month, UTC."""
    then = datetime.fromtimestamp(at, UTC)
    return int(datetime(then.year, then.month, 1, tzinfo=UTC).timestamp())


def _together(start: int, days: Sequence[Day]) -> Day:
    return Day(
        start,
        _sum(day.earned for day in days),
        _sum(day.cost for day in days),
        sum(day.gas_wei for day in days),
        sum((day.slashed for day in days), Fraction(0)),
    )


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
