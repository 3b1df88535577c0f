"""`oyster-provider exit`: leave one job, or all of them, in the order that keeps the stake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import completion
from commands.terminal import (
    MOST_JOB,
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    agree,
    print_json,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.market.model import Job
    from commands.context import Desk, Terms


def leave(
    job: Annotated[
        int | None,
        typer.Argument(
            min=1, max=MOST_JOB, help="The job's number.", autocompletion=completion.jobs
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every offer and every job.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Take `--all` back; exits on the chain stay.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the jobs are over and nothing runs.")
    ] = False,
    advise: Annotated[
        bool,
        typer.Option("--advise", help="What leaving comes to against staying; orders nothing."),
    ] = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Order the agent to leave: RequestToExitJob, serve the cool-down, settle, terminate.

    Exit 4 when no agent is there to carry it out: the order stands until one starts.
    """
    from commands.context import Need, at_desk
    from commands.looking import looking
    from commands.ordering import agent_there
    from faults import UsageFault

    _require_one(job, everything=everything, cancel=cancel)
    if advise and cancel:
        raise UsageFault("--advise is about jobs; give it one, or --all")

    async def work(desk: Desk) -> None:
        if advise:
            await _advise(desk, job, as_json=as_json)
            return
        there = await agent_there(desk)
        plan, lines = _cancelled(desk) if cancel else await _plan(desk, job, there=there)
        how = _How(yes, dry_run, as_json, wait and not cancel)
        await _carry_out(desk, plan, lines, how, there=there)

    at_desk(looking(config), work, Need.EXIT)


def _require_one(job: int | None, *, everything: bool, cancel: bool) -> None:
    """Raises UsageFault: what is wrong with these words together."""
    from faults import UsageFault

    if cancel and (job or everything):
        raise UsageFault("--cancel takes `exit --all` back; give it alone")
    if job and everything:
        raise UsageFault(f"job {job} and --all: name one job, or --all")
    if not (job or everything or cancel):
        raise UsageFault("leave what? name one job, or --all, or --cancel")


async def _advise(desk: Desk, job: int | None, *, as_json: bool) -> None:
    """Raises Refused: not a running job of ours."""
    from commands.advice import advice_on, lines, to_json
    from commands.context import terms_of

    terms = await terms_of(desk)
    jobs = await _jobs(desk, job, terms)
    found, costs = await advice_on(desk, terms, jobs)
    if as_json:
        print_json([to_json(each, terms) for each in found])
        return
    for each in found:
        say("\n".join(lines(each, costs[each.job.instance_type], terms)))
    if not found:
        say("no job runs here; there is nothing to leave")


async def _jobs(desk: Desk, job: int | None, terms: Terms) -> list[Job]:
    """The one that is named, or all. Raises Refused: not a running job of ours."""
    from agent.market.model import JobId

    ids = [JobId(job)] if job else await desk.market.jobs_of(desk.provider, terms.at)
    return [_ours(desk, number, found) for number, found in await _found(desk, ids, terms)]


def _cancelled(desk: Desk) -> tuple[dict[str, Any], list[str]]:
    """Raises Refused: nothing was ordered that could be taken back."""
    from agent.journal.orders import OrderKind
    from commands.ordering import standing
    from faults import Refused

    if not standing(desk, OrderKind.CANCEL_EXIT_ALL):
        raise Refused("no `exit --all` is in force; nothing is taken back")
    plan: dict[str, Any] = {"order": OrderKind.CANCEL_EXIT_ALL, "job": None, "jobs": []}
    return plan, ["take back `exit --all`: offers are listed again; exits on the chain stay"]


@dataclass(frozen=True, slots=True)
class _How:
    yes: bool
    dry_run: bool
    as_json: bool
    wait: bool


async def _plan(desk: Desk, job: int | None, *, there: bool) -> tuple[dict[str, Any], list[str]]:
    """What is ordered, and what it means in words. Raises Refused: not a running job of ours."""
    from agent.config.units import show_coin
    from agent.journal.orders import OrderKind
    from commands.amounts import show_span, show_time
    from commands.context import terms_of
    from commands.dialect import coin, moment

    terms = await terms_of(desk)
    jobs = await _jobs(desk, job, terms)
    cool_down = terms.params.job_exit_cool_down
    end = max([_end(each, terms) for each in jobs], default=terms.at.timestamp)
    lines = []
    if job is None:
        listed = ", ".join(offer.type for offer in desk.config.offers) or "none"
        lines.append(f"take every offer off the market ({listed})")
    lines += [_line(each, terms) for each in jobs]
    over = f"over about {show_time(end)} UTC" if there else "no agent answers that would ask now"
    lines.append(
        f"serve, earn and stay liable for {show_span(cool_down)} after each request; {over}; "
        "the stake of each job is free at its end"
    )
    offers = len(desk.config.offers) if job is None else 0
    fee = await _gas(desk, [each for each in jobs if not each.is_exiting], offers)
    lines.append(f"the agent's transactions for it take about {show_coin(fee)} of gas now")
    kind = OrderKind.EXIT if job else OrderKind.EXIT_ALL
    plan = {
        "order": kind, "job": job, "jobs": [each.id for each in jobs],
        "over_at": moment(end) if there else None, "fee": coin(fee),
    }  # fmt: skip
    return plan, lines


async def _gas(desk: Desk, jobs: Sequence[Job], offers: int) -> int:
    """Wei, by usual figures: a request and an end for each job, a removal for each offer."""
    from commands.sending import USUAL_GAS, present_fees

    fees = await present_fees(desk)
    return (2 * len(jobs) + offers) * USUAL_GAS * fees.max_fee


async def _carry_out(
    desk: Desk, plan: dict[str, Any], lines: list[str], how: _How, *, there: bool
) -> None:
    from commands.journal import order
    from commands.ordering import left, not_taken_up

    if not how.as_json:
        say("\n".join(lines))
    if not how.dry_run:
        agree("Leave?" if plan["jobs"] else "Go on?", yes=how.yes, as_json=how.as_json)
        order(desk.config, desk.clock.now(), plan["order"], plan["job"])
    if how.as_json:
        print_json({**plan, "dry_run": how.dry_run, "taken_up": there and not how.dry_run})
    if how.dry_run:
        return
    if not there:
        raise not_taken_up(desk)
    if not how.as_json:
        say("ordered; the agent takes it up within a second")
    if how.wait:
        await left(desk, plan["jobs"], quiet=how.as_json)


async def _found(desk: Desk, ids: Any, terms: Terms) -> list[tuple[int, Job | None]]:
    jobs = await desk.market.jobs(ids, terms.at) if ids else {}
    return [(number, jobs.get(number)) for number in ids]


def _ours(desk: Desk, number: int, job: Job | None) -> Job:
    from faults import Refused

    if job is None or job.provider != desk.provider:
        raise Refused(f"job {number} is not assigned to {desk.provider}; see `jobs list`")
    if job.is_stopped:
        raise Refused(f"job {number} has stopped already; there is nothing to leave")
    return job


def _end(job: Job, terms: Terms) -> int:
    return terms.params.exit_at(job) or terms.at.timestamp + terms.params.job_exit_cool_down


def _line(job: Job, terms: Terms) -> str:
    if job.is_exiting:
        return f"job {job.id} is leaving already"
    return f"job {job.id} ({job.instance_type}): RequestToExitJob"
