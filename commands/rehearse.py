"""`oyster-provider rehearse`: one real launch for no job, timed against the market's window."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import completion
from commands.terminal import ConfigOption, JsonOption, YesOption, agree, print_json, say
from faults import Refused, RetryLater, UsageFault

if TYPE_CHECKING:
    from agent.market.model import InstanceType
    from commands.context import Desk
    from commands.costs import Cost
    from commands.rehearsal import Rehearsal, Took

_BREAKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def rehearse(
    instance_type: Annotated[
        str,
        typer.Argument(help="REGION/TYPE: us-east-1/c6a.xlarge.", autocompletion=completion.types),
    ],
    image: Annotated[
        str, typer.Option(help="What users would name: ipfs://CID of an enclave image.")
    ],
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Launch one instance, run the image on it, have it prove itself, and end it, whatever happens.

    It costs what the instance does for some minutes; chain, offers and jobs are not touched. Exit 4
    when it did not come up, or not within the market's window.
    """
    from commands.context import at_desk

    async def work(desk: Desk) -> tuple[Took, dict[str, Any]]:
        return await _rehearse(desk, instance_type, image, yes=yes, as_json=as_json)

    took, told = at_desk(config, work)
    if as_json:
        print_json(told)
    if took.left:
        raise RetryLater(took.left)
    if took.fault is not None:
        raise took.fault
    if not told["in_time"]:
        raise RetryLater(f"up after {took.up_seconds:.0f} s, later than the market's window allows")


async def _rehearse(
    desk: Desk, kind: str, url: str, *, yes: bool, as_json: bool
) -> tuple[Took, dict[str, Any]]:
    from agent.market.model import InstanceType
    from commands.context import standing_of
    from commands.costs import cost_text, costs_of
    from commands.rehearsal import Rehearsal
    from commands.rehearsal_world import opened, window_of

    type_ = InstanceType.parse(kind)
    if type_.region not in desk.config.aws.regions:
        raise UsageFault(f"{kind}: {type_.region} is not in aws.regions")
    await _require_enclaves(desk, type_)
    now = await standing_of(desk)
    window, cost = window_of(now.terms), (await costs_of(desk, [kind], now.money))[kind]
    if not as_json:
        say(f"one instance of {kind} for some minutes, at {cost_text(cost, now.money)}")
    agree("Launch it?", yes=yes, as_json=as_json)
    async with opened(desk, type_, url) as (outside, what):
        rehearsal = Rehearsal(outside, what, lambda line: _say(line, quiet=as_json))
        took = await _unless_broken_off(rehearsal)
    told = to_json(took, kind, window, cost, now.money.decimals)
    if not as_json and took.up_seconds is not None:
        say(f"up after {took.up_seconds:.0f} s of the {window} s that the market gives")
    if not as_json:
        spent = told["cost_tokens"]
        costs = "not known" if spent is None else f"{spent} {now.money.symbol}"
        say(f"ended; it ran for {took.billed_seconds:.0f} s, which cost {costs}")
    return took, told


async def _require_enclaves(desk: Desk, kind: InstanceType) -> None:
    """Before anything is bought, and before anybody waits for what EC2 never launches. Raises
    Refused: no such type, or it holds no enclave; RetryLater: AWS does not answer."""
    from cloud.model import Region

    aws = desk.open_cloud()
    try:
        await aws.room(Region(kind.region), kind.ec2_type)
    except (Refused, UsageFault) as no:
        said = str(no).partition("; deregister it")[0]
        raise Refused(f"{said}; nothing was launched") from no
    finally:
        aws.close()


async def _unless_broken_off(rehearsal: Rehearsal) -> Took:
    """Ctrl-C, however often, the end of a login and of the machine: each has the instance ended
    before anything else. Raises Exit, by a shell's code for it; RetryLater: it may still run."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for each in _BREAKS:
        loop.add_signal_handler(each, task.cancel)
    try:
        return await rehearsal.run()
    except asyncio.CancelledError:
        if rehearsal.took.left:
            raise RetryLater(rehearsal.took.left) from None
        say("broken off; what was launched is ended", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    finally:
        for each in _BREAKS:
            loop.remove_signal_handler(each)


def _say(line: str, *, quiet: bool) -> None:
    if not quiet:
        say(line)


def to_json(took: Took, kind: str, window: int, cost: Cost, decimals: int) -> dict[str, Any]:
    """For programs. Seconds, and whole payment tokens as text."""
    up = took.up_seconds
    return {
        "type": kind,
        "instance": took.instance,
        "stages": {name: round(seconds, 3) for name, seconds in took.stages.items()},
        "up_seconds": None if up is None else round(up, 3),
        "window_seconds": window,
        "in_time": up is not None and up < window,
        "billed_seconds": round(took.billed_seconds, 3),
        "cost_tokens": _spent(took, cost, decimals),
        "fault": str(took.fault) if took.fault else "",
        "left": took.left,
    }


def _spent(took: Took, cost: Cost, decimals: int) -> str | None:
    """Whole tokens, by the price of now; None: it is not known."""
    if cost.price is None:
        return None
    return f"{float(cost.price.per('s', decimals)) * took.billed_seconds:.6f}"
