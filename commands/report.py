"""`oyster-provider report`: earned, cost, gas and margin, by job and by day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import ConfigOption, JsonOption, print_json, print_table

if TYPE_CHECKING:
    from agent.journal import LaunchRecord, Reader
    from agent.market.model import Job
    from commands.context import Desk, Terms

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """One job: earned in base units, cost in whole payment tokens (None: no cost configured)."""

    job: int
    instance_type: str
    started_at: int
    until: int
    earned: int
    instance_hours: float
    cost: Fraction | None
    gas_wei: int

    def margin(self, decimals: int) -> Fraction | None:
        """Whole tokens that are left after the instances' cost; gas is in another coin."""
        return None if self.cost is None else Fraction(self.earned, 10**decimals) - self.cost


def report(
    since: Annotated[
        str | None, typer.Option(help="Jobs that ended or run after this day, 2026-01-31.")
    ] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="One line a day (UTC).")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What jobs earned and cost: chain for the money, journal for the instances and the gas."""
    from commands.context import at_desk

    after = _day(since)
    terms, lines = at_desk(config, lambda desk: _lines(desk, after))
    if by_day:
        columns, rows = _days(lines, terms, after)
    else:
        columns, rows = _jobs(lines, terms)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        _print_csv(columns, rows)
    else:
        print_table(columns, rows, empty="nothing has run yet")


async def _lines(desk: Desk, after: float) -> tuple[Terms, list[Line]]:
    from commands.context import terms_of
    from commands.journal import open_reader

    terms = await terms_of(desk)
    with open_reader(desk.config) as reader:
        ids = {*reader.jobs(100_000), *await desk.market.jobs_of(desk.provider, terms.at)}
        jobs = await desk.market.jobs(sorted(ids), terms.at)
        launches = reader.launches(sorted(ids))
        lines = [
            _line(desk, terms, job, launches.get(job.id, []), reader)
            for job in jobs.values()
            if job.provider == desk.provider
        ]
    return terms, [line for line in lines if line.until >= after]


def _line(
    desk: Desk, terms: Terms, job: Job, launches: Sequence[LaunchRecord], reader: Reader
) -> Line:
    from agent.txjournal import TxJournal
    from commands.jobs import earned
    from commands.offers import cost_of

    until = job.stopped_at or terms.at.timestamp
    hours = _instance_hours(launches, until)
    offers = {offer.type: offer for offer in desk.config.offers}
    price = cost_of(offers.get(job.instance_type), terms.money.decimals)
    cost = None if price is None else price.per("h", terms.money.decimals) * Fraction(hours)
    gas = TxJournal(reader.engine).worst_fees(job=job.id)
    return Line(
        job.id, job.instance_type, job.started_at, until, earned(job, terms), hours, cost, gas
    )


def _instance_hours(launches: Sequence[LaunchRecord], until: float) -> float:
    """From each launch to the next one's, the last to the job's end: what EC2 bills, closely."""
    starts = [each.at for each in launches if each.instance and each.phase == "launched"]
    ends = [*starts[1:], until]
    return sum(max(0.0, end - at) for at, end in zip(starts, ends, strict=False)) / 3600


def _jobs(lines: Sequence[Line], terms: Terms) -> tuple[list[str], list[list[object]]]:
    from commands.amounts import show_time

    decimals, symbol = terms.money.decimals, terms.money.symbol
    columns = ["job", "type", "started", "until", f"earned {symbol}", "instance hours",
               f"cost {symbol}", f"margin {symbol}", "gas coin"]  # fmt: skip
    rows: list[list[object]] = [
        [
            line.job, line.instance_type, show_time(line.started_at), show_time(line.until),
            _tokens(Fraction(line.earned, 10**decimals)), f"{line.instance_hours:.2f}",
            _tokens(line.cost), _tokens(line.margin(decimals)), f"{line.gas_wei / 10**18:.6f}",
        ]
        for line in sorted(lines, key=lambda line: line.job)
    ]  # fmt: skip
    return columns, rows


def _days(
    lines: Sequence[Line], terms: Terms, after: float
) -> tuple[list[str], list[list[object]]]:
    """Earnings spread over the seconds in which they were earned; costs likewise."""
    decimals, symbol = terms.money.decimals, terms.money.symbol
    days: dict[int, list[Fraction]] = {}
    unknown: set[int] = set()  # a job of that day has no configured cost: no total, no margin
    for line in lines:
        for day, part in _spread(line.started_at, line.until):
            sums = days.setdefault(day, [Fraction(0), Fraction(0)])
            sums[0] += part * Fraction(line.earned, 10**decimals)
            sums[1] += part * (line.cost or 0)
            if line.cost is None:
                unknown.add(day)
    rows: list[list[object]] = [
        [datetime.fromtimestamp(day, UTC).date().isoformat(), _tokens(earned),
         _tokens(None if day in unknown else cost),
         _tokens(None if day in unknown else earned - cost)]
        for day, (earned, cost) in sorted(days.items())
        if day + _DAY > after
    ]  # fmt: skip
    return ["day", f"earned {symbol}", f"cost {symbol}", f"margin {symbol}"], rows


def _spread(start: int, end: int) -> Iterator[tuple[int, Fraction]]:
    """The days (first second, UTC) that [start, end) touches, and its part in each."""
    if not start or end <= start:
        return
    for day in range(start - start % _DAY, end, _DAY):
        inside = min(end, day + _DAY) - max(start, day)
        yield day, Fraction(inside, end - start)


def _tokens(amount: Fraction | None) -> str | None:
    return None if amount is None else f"{float(amount):.6f}"


def _print_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([columns, *rows])


def _day(text: str | None) -> float:
    from faults import UsageFault

    if text is None:
        return 0.0
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise UsageFault(f"--since {text}: write a day as 2026-01-31") from error
