"""What each day brought and cost: earnings by the market's arithmetic, instances by their price.

Pure. `report` does the same for the whole journal at the desk; this is the page's last weeks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.load.cost_history import CostHistory
from agent.load.costs import Cost
from agent.market.model import Job, Price
from agent.market.terms import Terms
from agent.status.cockpit import DayRow, Harm

DAY = 86_400
DAYS = 30


@dataclass(frozen=True, slots=True)
class Stint:
    """One instance, while AWS asked for it. `rate` None: not known."""

    begun: float
    ended: float
    rate: Price | None


@dataclass(frozen=True, slots=True)
class Account:
    """What days are made of. `told` is what events alone told of each day's earnings, by its first
    second, where the contract keeps no sum; `gas` likewise, in wei."""

    jobs: Sequence[Job]
    terms: Terms
    stints: Sequence[Stint]
    gas: Mapping[int, int] = field(default_factory=dict)
    harms: Sequence[Harm] = ()
    slashed: Sequence[tuple[float, int]] = ()
    told: Mapping[int, int] = field(default_factory=dict)


def midnight(at: float) -> int:
    """The first second of its day (UTC)."""
    return int(at) - int(at) % DAY


def by_day(account: Account, now: float, days: int = DAYS) -> tuple[DayRow, ...]:
    """Every one of the last `days`, today the last; a day in which nothing was is there too."""
    first = midnight(now) - (days - 1) * DAY
    earned = Counter(account.told)
    for day, part in _earned(account.jobs, account.terms, int(now), first):
        earned[day] += part
    costs, unknown = _costs(account.stints, now, first)
    slashed = Counter[int]()
    for at, amount in account.slashed:
        slashed[midnight(at)] += amount
    harms = Counter((midnight(harm.at), harm.what) for harm in account.harms)
    return tuple(
        DayRow(
            day, earned[day], None if day in unknown else costs[day] // Price.SCALE,
            account.gas.get(day, 0), slashed[day],
            {what: count for (at, what), count in harms.items() if at == day},
        )
        for day in range(first, first + days * DAY, DAY)
    )  # fmt: skip


def _earned(jobs: Iterable[Job], terms: Terms, now: int, first: int) -> Iterator[tuple[int, int]]:
    """Each job's part of each day: what it earned since the day began, less since it ended."""
    for job in jobs:
        last = midnight(min(job.stopped_at or now, now))
        day = max(first, midnight(job.started_at))
        if not job.is_started or last < first:
            continue
        left: int = terms.earned(job, now, since=day)
        while day <= last:
            later = terms.earned(job, now, since=day + DAY) if day < last else 0
            yield day, left - later
            day, left = day + DAY, later


def _costs(stints: Iterable[Stint], now: float, first: int) -> tuple[Counter[int], set[int]]:
    """Price units by day, and the days of which a part is not known."""
    costs, unknown = Counter[int](), set[int]()
    for stint in stints:
        ended = min(stint.ended, now)
        for day in range(max(first, midnight(stint.begun)), int(ended) + 1, DAY):
            seconds = int(min(ended, day + DAY) - max(stint.begun, day))
            if stint.rate is None:
                unknown.add(day)
            elif seconds > 0:
                costs[day] += stint.rate.raw * seconds
    return costs, unknown


def gas_days(gas: Mapping[int, int], balance: int, now: float, week: int = 7) -> float | None:
    """For how many days the coin lasts at the pace of the last week; None: nothing was spent.

    Of a journal that is younger than a week, its own days count.
    """
    today = midnight(now)
    days = [day for day in gas if today - week * DAY < day <= today]
    spent = sum(gas[day] for day in days)
    if not spent:
        return None
    return balance / (spent / ((today - min(days)) // DAY + 1))


def stints_of(
    kind: str, launches: Sequence[float], until: float, history: CostHistory, now: Cost
) -> Iterator[Stint]:
    """From each launch to the next one's, the last to the job's end: what EC2 bills, closely; each
    time at what the type cost then. `now`: what it costs, where the journal has nothing of it."""
    for begun, ended in zip(launches, [*launches[1:], until], strict=True):
        for span in history.spans(kind, begun, ended, now):
            yield Stint(span.start, span.end, span.cost.price)


def whole_cost(stints: Sequence[Stint], now: float) -> int | None:
    """What instances cost so far, base units; None: not known."""
    if any(stint.rate is None for stint in stints):
        return None
    rates = [(stint, stint.rate.raw) for stint in stints if stint.rate is not None]
    spent = sum(raw * int(max(0.0, min(one.ended, now) - one.begun)) for one, raw in rates)
    return spent // Price.SCALE
