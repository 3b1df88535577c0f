"""`oyster-provider jobs ...`: what is assigned, how it stands, what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import completion
from commands.terminal import (
    MOST_JOB,
    ConfigOption,
    JsonOption,
    YesOption,
    agree,
    print_facts,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from pathlib import Path

    from agent.journal.lines import Event
    from agent.journal.reading import Reader
    from agent.market.model import Job
    from commands.context import Desk, Terms

WATCH_SECONDS = 2.0
FOLLOW_SECONDS = 1.0
MOST_LINES = 100_000
MOST_PAST = 10_000

app = typer.Typer(no_args_is_help=True, help="Look at jobs and what happened to them.")

JobArgument = Annotated[
    int,
    typer.Argument(min=1, max=MOST_JOB, help="The job's number.", autocompletion=completion.jobs),
]


@app.command("list")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Past jobs too, as far as the journal knows them.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it anew every two seconds; Ctrl-C ends.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The provider's active jobs as the chain has them, closest deadline first."""
    import sys
    import time

    from faults import UsageFault

    if watch and as_json:
        raise UsageFault("--watch draws for people; `/jobs` of the agent's status server is JSON")
    while True:
        terms, jobs = _read(config, everything=everything)
        if watch and sys.stdout.isatty():
            typer.echo("\x1b[2J\x1b[H", nl=False)  # an empty screen (ECMA-48)
        if as_json:
            print_json([to_json(job, terms) for job in jobs])
        else:
            _print_jobs(terms, jobs)
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def _read(config: Path | None, *, everything: bool) -> tuple[Terms, list[Job]]:
    """Active jobs by their deadline; with `everything` those of the journal too, newest last."""
    from commands.context import at_desk, terms_of
    from commands.journal import open_reader

    async def work(desk: Desk) -> tuple[Terms, list[Job]]:
        terms = await terms_of(desk)
        ids = set(await desk.market.jobs_of(desk.provider, terms.at))
        if everything:
            with open_reader(desk.config) as reader:
                ids |= set(reader.jobs(MOST_PAST))
        jobs = await desk.market.jobs(sorted(ids), terms.at)
        if everything:
            return terms, [jobs[number] for number in sorted(jobs)]
        return terms, sorted(jobs.values(), key=lambda job: _deadline(job, terms)[0] or 1 << 62)

    return at_desk(config, work)


def _print_jobs(terms: Terms, jobs: list[Job]) -> None:
    from commands.amounts import show_amount, show_price, show_until

    now, rows = terms.at.timestamp, []
    for job in jobs:
        at, why = _deadline(job, terms)
        left = show_until(at - now, why) if at else "-"
        rate = show_price(job.price, terms.money)
        escrow = show_amount(job.escrow, terms.money)
        rows.append((job.id, job.instance_type, _state(job, terms), left, rate, escrow))
    print_table(
        ("job", "type", "state", "next", "price", "escrow"), rows, empty="no job is assigned"
    )


@app.command()
def show(job: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One job: the chain's facts, money, stage times and the timeline."""
    from commands.context import at_desk, terms_of
    from faults import Refused

    async def work(desk: Desk) -> tuple[Terms, Job, list[Event]]:
        terms = await terms_of(desk)
        found = (await desk.market.jobs([_id(job)], terms.at)).get(_id(job))
        if found is None:
            raise Refused(f"job {job} is not on the chain; `oyster-provider jobs list` has yours")
        return terms, found, _timeline(desk, job)

    terms, found, events = at_desk(config, work)
    if as_json:
        print_json({**to_json(found, terms), "timeline": [_event_json(each) for each in events]})
        return
    print_facts(_facts(found, terms))
    typer.echo("")
    _print_timeline(events)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job's end.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The timeline of one job, from the agent's journal alone."""
    from agent.config import load
    from commands.journal import open_reader
    from faults import Refused, UsageFault

    if follow and as_json:
        raise UsageFault("--follow prints lines for people; leave --json out")
    with open_reader(load(config)) as reader:
        events = reader.timeline(_id(job), limit=MOST_LINES)
        if not events:
            raise Refused(
                f"the journal has nothing about job {job}; `jobs show {job}` asks the chain"
            )
        if as_json:
            print_json([_event_json(each) for each in events])
            return
        _print_timeline(events)
        if follow:
            _follow(reader, job, events)


def _follow(reader: Reader, job: int, events: list[Event]) -> None:
    """Print what comes, until the journal has the job's end."""
    import time

    from agent.journal.lines import ENDED

    while events[-1].name != ENDED:
        time.sleep(FOLLOW_SECONDS)
        found = reader.timeline(_id(job), limit=MOST_LINES)
        for each, began in list(zip(found, _since(found), strict=True))[len(events) :]:
            typer.echo("  ".join(_cells(each, began)))
        events = found


@app.command("confirm-terminations")
def confirm_terminations(
    job: Annotated[
        int | None,
        typer.Argument(
            min=1,
            max=MOST_JOB,
            help="One job; all held ones if absent.",
            autocompletion=completion.jobs,
        ),
    ] = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let terminations go on that the breaker holds, after you looked at the chain yourself."""
    import time

    from agent.config import load
    from agent.journal.orders import OrderKind
    from commands.journal import order

    loaded = load(config)
    which = f"job {job}" if job else "every job whose termination is held"
    if not as_json:
        typer.echo(f"terminate the instances of {which}, as the chain asks")
    agree("Is it true on the chain that these jobs are over?", yes=yes, as_json=as_json)
    order(loaded, time.time(), OrderKind.CONFIRM_TERMINATIONS, _id(job) if job else None)
    if as_json:
        print_json({"ordered": OrderKind.CONFIRM_TERMINATIONS, "job": job})
    else:
        typer.echo("ordered; the agent takes it up within a second, or when it starts")


def to_json(job: Job, terms: Terms) -> dict[str, Any]:
    """A job for programs: the contract's fields by its names, and what follows from them."""
    from commands.dialect import moment, price, tokens

    (at, why), money = _deadline(job, terms), terms.money
    return {
        "job": job.id, "user": job.user, "provider": job.provider,
        "instance_type": job.instance_type, "price": price(job.price, money),
        "max_price": price(job.max_price, money), "enclave_url": job.enclave_url,
        "generation": job.generation, "status": job.status.name.lower(),
        "stop_reason": job.stop_reason.name.lower(), "assigned_at": moment(job.assigned_at),
        "started_at": moment(job.started_at), "exit_requested_at": moment(job.exit_requested_at),
        "stopped_at": moment(job.stopped_at), "escrow": tokens(job.escrow, money),
        "settled_until": moment(job.settled_until), "endpoint": job.endpoint,
        "state": _state(job, terms), "deadline": moment(at), "deadline_is": why,
        "accrued": tokens(terms.params.accrued(job, terms.at.timestamp), money),
        "earned": tokens(earned(job, terms), money), "block": terms.at.number,
    }  # fmt: skip


def earned(job: Job, terms: Terms) -> int:
    """What this assignment has come to by the terms' block, in base units of the token."""
    return terms.params.earned(job, terms.at.timestamp)


def _state(job: Job, terms: Terms) -> str:
    if not job.is_stopped and terms.params.is_over(job, terms.at.timestamp):
        return "over, not settled"
    return job.status.name.lower()


def _deadline(job: Job, terms: Terms) -> tuple[int | None, str]:
    if job.is_stopped:
        return None, ""
    if not job.is_started:
        return terms.params.due(job).at, "slash point"
    end = terms.params.ending(job)
    return (end.at, end.reason.name.lower().replace("_", " ")) if end else (None, "")


def _facts(job: Job, terms: Terms) -> list[tuple[str, object]]:
    from commands.amounts import show_amount, show_price, show_time, show_until

    money, now = terms.money, terms.at.timestamp
    at, why = _deadline(job, terms)
    stopped = f"{show_time(job.stopped_at)} ({job.stop_reason.name.lower()})"
    return [
        ("job", f"{job.id}, generation {job.generation}"),
        ("state", _state(job, terms)),
        ("type", job.instance_type),
        ("price", show_price(job.price, money)),
        ("image", job.enclave_url),
        ("user", job.user),
        ("provider", job.provider),
        ("endpoint", job.endpoint or "-"),
        ("assigned", show_time(job.assigned_at)),
        ("started", show_time(job.started_at)),
        ("exit asked", show_time(job.exit_requested_at)),
        ("stopped", stopped if job.stopped_at else "-"),
        ("next", show_until(at - now, why) if at else "-"),
        ("earned", show_amount(earned(job, terms), money, 6)),
        ("escrow left", show_amount(job.escrow, money, 6)),
    ]


def _timeline(desk: Desk, job: int) -> list[Event]:
    from commands.journal import open_reader

    if not desk.config.journal_file.exists():
        return []
    with open_reader(desk.config) as reader:
        return reader.timeline(_id(job))


def _print_timeline(events: list[Event]) -> None:
    rows = [_cells(each, began) for each, began in zip(events, _since(events), strict=True)]
    print_table(("when (UTC)", "since", "what"), rows, empty="the journal has nothing about it")


def _cells(event: Event, began: float) -> tuple[str, str, str]:
    from commands.amounts import show_time
    from commands.journal import words

    return show_time(event.at), f"+{event.at - began:.1f} s", words(event)


def _since(events: list[Event]) -> list[float]:
    """From when each line counts: the assignment that it follows, by the chain's time, so that a
    job that was seen late shows it."""
    began, found = events[0].at if events else 0.0, []
    for each in events:
        assigned = each.fields.get("assigned_at")
        if each.name == "job.assigned" and isinstance(assigned, int | float):
            began = min(float(assigned), each.at)  # a block may be ahead of this clock
        found.append(began)
    return found


def _event_json(event: Event) -> dict[str, Any]:
    """A line for programs: times of its fields as times, too."""
    import logging

    from commands.dialect import moment

    fields = {
        name: moment(value) if name == "deadline" or name.endswith("_at") else value
        for name, value in event.fields.items()
        if not isinstance(value, bool)
    } | {name: value for name, value in event.fields.items() if isinstance(value, bool)}
    return {
        "at": moment(event.at), "name": event.name, "generation": event.generation,
        "level": logging.getLevelName(event.level).lower(), "text": event.text, "fields": fields,
    }  # fmt: skip


def _id(job: int) -> Any:
    from agent.market.model import JobId

    return JobId(job)
