"""`pause` and `resume`: no new jobs for a while; those that run stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commands.terminal import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    agree,
    print_json,
    say,
)

if TYPE_CHECKING:
    from commands.context import Desk


def pause(
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take every offer off the market until `resume`; running jobs are served on."""
    from agent.journal.orders import OrderKind
    from commands.context import at_desk
    from commands.looking import looking

    said = "take every offer off the market until `resume`; running jobs are served on"
    at_desk(
        looking(config),
        lambda desk: _order(
            desk, OrderKind.PAUSE, "paused", said, yes=yes, dry_run=dry_run, as_json=as_json
        ),
    )


def resume(
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """List again what `pause` took off the market, where there is room."""
    from agent.journal.orders import OrderKind
    from commands.context import at_desk
    from commands.looking import looking

    said = "list again what `pause` took off, where there is room"
    at_desk(
        looking(config),
        lambda desk: _order(
            desk, OrderKind.RESUME, "", said, yes=yes, dry_run=dry_run, as_json=as_json
        ),
    )


async def _order(
    desk: Desk, kind: str, word: str, said: str, *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    from agent.journal.orders import OrderKind
    from commands.journal import order
    from commands.ordering import agent_there, not_taken_up, until_closed
    from commands.ordering import paused as is_paused
    from faults import Refused

    paused = is_paused(desk)
    if kind == OrderKind.RESUME and not paused:
        raise Refused("nothing is paused; `offers list` says what is listed")
    again, there = kind == OrderKind.PAUSE and paused, await agent_there(desk)
    if not as_json:
        say("paused already; `oyster-provider resume` lists again" if again else said)
    if dry_run:
        if as_json:
            print_json({"order": kind, "dry_run": True})
        return
    if not again:
        agree("Go on?", yes=yes, as_json=as_json)
        order(desk.config, desk.clock.now(), kind, None)
    if as_json:
        print_json({"order": kind, "dry_run": False, "taken_up": there})
    if not there:
        raise not_taken_up(desk)
    await until_closed(desk, word)
    if not as_json:
        say("paused: nothing is listed" if word else "resumed; `offers list` follows")
