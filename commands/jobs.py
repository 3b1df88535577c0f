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
    print_entries,
    print_facts,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from agent.config import Config
    from agent.journal.lines import Event
    from agent.journal.reading import Reader
    from agent.journal.wording import Priced
    from commands.context import Desk, Standing
    from commands.told import Told

WATCH_SECONDS = 2.0
FOLLOW_SECONDS = 1.0
MOST_LINES = 100_000
MOST_PAST = 10_000

app = typer.Typer(no_args_is_help=True, help="Look at jobs and what happened to them.")

JobArgument = Annotated[
    int,
    typer.Argument(min=0, max=MOST_JOB, help="The job's number.", autocompletion=completion.jobs),
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

    from commands.amounts import show_time
    from commands.job_shown import to_json
    from commands.looking import looking
    from faults import RetryLater, UsageFault

    if watch and as_json:
        raise UsageFault("--watch draws for people; `/jobs` of the agent's status server is JSON")
    loaded = looking(config)
    while watch:
        try:
            standing, jobs = _read(loaded, everything=everything)
        except RetryLater as later:  # the last picture stays
            say(f"! {later}; looked at again in {WATCH_SECONDS:.0f} s", err=True)
        else:
            if sys.stdout.isatty():
                typer.echo("\x1b[2J\x1b[H", nl=False)  # an empty screen (ECMA-48)
            say(f"block {standing.at.number}, {show_time(standing.at.timestamp)} UTC")
            _print_jobs(standing, jobs)
        time.sleep(WATCH_SECONDS)
    standing, jobs = _read(loaded, everything=everything)
    if as_json:
        print_json([to_json(told, standing) for told in jobs])
    else:
        _print_jobs(standing, jobs)


def _read(config: Config, *, everything: bool) -> tuple[Standing, list[Told]]:
    """Active jobs by their deadline; with `everything` those of the journal too, newest last."""
    from commands.context import at_desk, standing_of
    from commands.job_shown import deadline_of
    from commands.journal import open_reader
    from commands.kept_ids import own_jobs
    from commands.told import tell

    async def work(desk: Desk) -> tuple[Standing, list[Told]]:
        standing = await standing_of(desk)
        with open_reader(desk.config) as reader:
            active = await own_jobs(desk, reader, standing.at)
            ids = {*active, *(reader.jobs(MOST_PAST) if everything else ())}
            jobs = await desk.reads.jobs(sorted(ids), standing.at)
            told = await tell(desk, standing, reader, jobs.values())
        if everything:
            return standing, [told[number] for number in sorted(told)]
        return standing, sorted(told.values(), key=lambda t: deadline_of(t, standing)[0] or 1 << 62)

    return at_desk(config, work)


def _print_jobs(standing: Standing, jobs: list[Told]) -> None:
    from commands.amounts import show_amount, show_price, show_until
    from commands.job_shown import deadline_of, state_of

    now, money, rows = standing.at.timestamp, standing.money, []
    for told in jobs:
        job, (at, why) = told.job, deadline_of(told, standing)
        left = show_until(at - now, why) if at else "-"
        rate, escrow = show_price(job.price, money), show_amount(job.escrow, money)
        rows.append((job.id, job.instance_type, state_of(told, standing), left, rate, escrow))
    print_table(
        ("job", "type", "state", "next", "price", "escrow"), rows, empty="no job is assigned"
    )


@app.command()
def show(job: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One job: the chain's facts, money, stage times and the timeline."""
    from agent.load.proofs import proofs_of
    from commands import proofs, traffic
    from commands.agent_asked import ask_hosts
    from commands.amounts import show_price
    from commands.context import at_desk, standing_of
    from commands.job_shown import facts_of, to_json
    from commands.journal import open_reader
    from commands.looking import looking
    from commands.told import tell
    from faults import Refused

    loaded = looking(config)

    async def work(desk: Desk) -> tuple[Standing, Told, list[Event]]:
        standing = await standing_of(desk)
        jobs = await desk.reads.jobs([_id(job)], standing.at)
        if not jobs:
            raise Refused(f"job {job} is not on the chain; `oyster-provider jobs list` has yours")
        with open_reader(desk.config) as reader:
            told = await tell(desk, standing, reader, jobs.values())
            return standing, told[_id(job)], reader.timeline(_id(job))

    standing, told, events = at_desk(loaded, work)
    proven = proofs_of(told.job, events)
    hosts = ask_hosts(loaded.status.listen, int(job), told.job.provider)
    if as_json:
        timeline = [_event_json(each) for each in events]
        shown = {**to_json(told, standing), "proofs": proofs.to_json(proven)}
        shown["traffic"] = traffic.to_json(hosts)
        print_json({**shown, "timeline": timeline})
        return
    facts = [*facts_of(told, standing), *proofs.facts_of(proven), *traffic.facts_of(hosts)]
    print_facts(facts)
    say("")
    _print_timeline(events, lambda price: show_price(price, standing.money))


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
    from commands.journal import open_reader
    from commands.looking import looking
    from faults import Refused, UsageFault

    if follow and as_json:
        raise UsageFault("--follow prints lines for people; leave --json out")
    with open_reader(looking(config)) as reader:
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
            say("  ".join(_cells(each, began)))
        events = found


@app.command("confirm-terminations")
def confirm_terminations(
    job: Annotated[
        int | None,
        typer.Argument(
            min=0,
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

    from agent.journal.orders import OrderKind
    from commands.journal import order
    from commands.looking import looking

    loaded = looking(config)
    which = "every job whose termination is held" if job is None else f"job {job}"
    if not as_json:
        say(f"terminate the instances of {which}, as the chain asks")
    agree("Is it true on the chain that these jobs are over?", yes=yes, as_json=as_json)
    whose = None if job is None else _id(job)
    order(loaded, time.time(), OrderKind.CONFIRM_TERMINATIONS, whose)
    if as_json:
        print_json({"ordered": OrderKind.CONFIRM_TERMINATIONS, "job": job})
    else:
        say("ordered; the agent takes it up within a second, or when it starts")


def _print_timeline(events: list[Event], priced: Priced | None = None) -> None:
    rows = [_cells(each, began, priced) for each, began in zip(events, _since(events), strict=True)]
    print_entries(("when (UTC)", "since", "what"), rows, empty="the journal has nothing about it")


def _cells(event: Event, began: float, priced: Priced | None = None) -> tuple[str, str, str]:
    from agent.journal.wording import words
    from commands.amounts import show_time

    return show_time(event.at), f"+{event.at - began:.1f} s", words(event, priced)


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
