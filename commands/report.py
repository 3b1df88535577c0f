"""`oyster-provider report`: earned, AWS cost, gas, margin and lost stake, by job and by day.

The keys of --json and the columns of --csv are the same and stay: amounts are decimal texts in
whole payment tokens (`_tokens`), the chain's coin (`_coin`) or POND (`_pond`); times are ISO, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import ConfigOption, JsonOption, print_json, print_table, say

if TYPE_CHECKING:
    from commands.ledger import Day, Ledger, Line

JOB_KEYS = (
    "job", "instance_type", "state", "started_at", "until", "instance_hours", "earned_tokens",
    "cost_tokens_per_hour", "cost_source", "cost_tokens", "margin_tokens", "gas_coin",
    "slashed_pond",
)  # fmt: skip
AMOUNTS = ("earned_tokens", "cost_tokens", "margin_tokens", "gas_coin", "slashed_pond")
DAY_KEYS = ("day", *AMOUNTS)
MONTH_KEYS = ("month", *AMOUNTS)
BY = ("job", "day", "month")


def report(
    since: Annotated[
        str | None,
        typer.Option(help="Only what ended or ran on this day (UTC) or later: 2026-01-31."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="job, day or month (UTC): only these; the jobs and days if absent.",
            autocompletion=lambda: list(BY),
        ),
    ] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="As --by day.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Comma-separated: the jobs, or what --by says.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What jobs earned and cost: the chain's money, AWS's list price, the journal's gas.

    `cost` of an offer in the file goes before the list price; each hour costs what it did then, as
    the agent wrote it down. Margin is what the instances leave; gas is paid in the chain's coin,
    and stake that was slashed is lost POND: both are shown beside it.
    """
    from commands.context import at_desk
    from commands.ledger import read_ledger
    from commands.looking import looking
    from faults import UsageFault

    if as_csv and as_json:
        raise UsageFault("choose one of --csv and --json")
    if by is not None and by not in BY:
        raise UsageFault(f"--by {by}: write job, day or month")
    after, by = _after(since), "day" if by_day else by
    ledger = at_desk(looking(config), lambda desk: read_ledger(desk, after))
    if as_json:
        print_json(to_json(ledger, since))
    elif as_csv:
        columns, rows = _table(ledger, by or "job")
        _print_csv(columns, rows)
    else:
        _print(ledger, by)


def _table(ledger: Ledger, by: str) -> tuple[Sequence[str], list[dict[str, Any]]]:
    if by == "job":
        return JOB_KEYS, [_job_row(line) for line in ledger.lines]
    if by == "month":
        return MONTH_KEYS, [_month_row(month) for month in ledger.months]
    return DAY_KEYS, [_day_row(day) for day in ledger.days]


def to_json(ledger: Ledger, since: str | None) -> dict[str, Any]:
    """The whole report for programs."""
    from commands.ledger import total

    whole, pond = _day_row(total(ledger.lines, ledger.days)), ledger.standing.holdings.pond
    return {
        "since": since,
        "block": ledger.standing.at.number,
        "token": ledger.standing.money.symbol,
        "stake_token": pond.symbol if pond else None,
        "jobs": [_job_row(line) for line in ledger.lines],
        "days": [_day_row(day) for day in ledger.days],
        "months": [_month_row(month) for month in ledger.months],
        "total": {key: whole[key] for key in DAY_KEYS[1:]},
    }


def _job_row(line: Line) -> dict[str, Any]:
    values = (
        line.job, line.instance_type, line.state, _iso(line.started_at), _iso(line.until),
        _decimal(line.instance_hours), _decimal(line.earned),
        _decimal(line.hourly), line.cost_source, _decimal(line.cost),
        _decimal(line.margin), _coin(line.gas_wei), _decimal(line.slashed),
    )  # fmt: skip
    return dict(zip(JOB_KEYS, values, strict=True))


def _day_row(day: Day) -> dict[str, Any]:
    name = datetime.fromtimestamp(day.start, UTC).date().isoformat()
    values = (
        name, _decimal(day.earned), _decimal(day.cost), _decimal(day.margin), _coin(day.gas_wei),
        _decimal(day.slashed),
    )  # fmt: skip
    return dict(zip(DAY_KEYS, values, strict=True))


def _month_row(month: Day) -> dict[str, Any]:
    row = _day_row(month)
    return {"month": row.pop("day")[:7], **row}


def _print(ledger: Ledger, by: str | None) -> None:
    from commands.costs import cost_text

    if by in (None, "job"):
        _print_jobs(ledger)
    if by in (None, "day"):
        _print_times(ledger, "day (UTC)", [_day_row(day) for day in ledger.days])
    if by == "month":
        _print_times(ledger, "month (UTC)", [_month_row(month) for month in ledger.months])
    money, pond = ledger.standing.money, ledger.standing.holdings.pond
    lost = any(line.slashed for line in ledger.lines)
    slashed = f", slashed in {pond.symbol}" if lost and pond else ""
    say(f"earned, cost, margin in {money.symbol}, gas in the chain's coin{slashed}")
    say(f"margin is earned less cost, before gas{' and slashes' if pond else ''}")
    rates = {line.instance_type: line.cost_rate for line in ledger.lines}
    for kind in sorted(rates):
        say(f"cost of {kind} now: {cost_text(rates[kind], money)}")


def _print_jobs(ledger: Ledger) -> None:
    lost = any(line.slashed for line in ledger.lines)
    rows = [
        (line.job, line.instance_type, _when(line), f"{float(line.instance_hours):.2f}",
         *_amounts(_job_row(line), lost))
        for line in ledger.lines
    ]  # fmt: skip
    names = _names(lost)
    columns = ("job", "type", "ran until", "hours", *names)
    print_table(
        columns, rows, empty="nothing has run yet", right=("job", "hours", *names), breaks="type"
    )


def _print_times(ledger: Ledger, title: str, found: Sequence[dict[str, Any]]) -> None:
    from commands.ledger import total

    if not found:
        return
    whole = total(ledger.lines, ledger.days)
    lost = bool(whole.slashed)
    rows = [(next(iter(row.values())), *_amounts(row, lost)) for row in found]
    rows.append(("together", *_amounts(_day_row(whole), lost)))
    print_table((title, *_names(lost)), rows, empty="", right=_names(lost))


def _when(line: Line) -> str:
    if line.state == "ended":
        return (_iso(line.until) or "")[:10]
    return "now" if line.state == "running" else line.state


def _names(lost: bool) -> tuple[str, ...]:
    """The columns of amounts; what was slashed only where anything was."""
    names = ("earned", "cost", "margin", "gas", "slashed")
    return names if lost else names[:-1]


def _amounts(row: Mapping[str, Any], lost: bool) -> list[str | None]:
    found = [row[key] for key in DAY_KEYS[1:]]
    return [*found[:-1], found[-1][:-4]] if lost else found[:-1]  # whole POND to the cent


def _decimal(amount: Fraction | None) -> str | None:
    """To six places, however large."""
    if amount is None:
        return None
    whole, rest = divmod(round(abs(amount) * 10**6), 10**6)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:06d}"


def _coin(wei: int) -> str:
    return _decimal(Fraction(wei, 10**18)) or ""


def _iso(at: int) -> str | None:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def _print_csv(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    import sys

    from commands.spreadsheet import write

    write(sys.stdout, columns, rows)


def _after(text: str | None) -> float:
    from faults import UsageFault

    if text is None:
        return 0.0
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise UsageFault(f"--since {text}: write a day as 2026-01-31") from error
