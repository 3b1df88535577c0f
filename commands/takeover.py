"""`oyster-provider takeover`: from Marlin's control plane, or another like it, to this agent.

The agent serves every open and paid job of its provider: it brings its own instances up beside the
old ones. This command looks at both, ends an old instance when ours has just proven itself, and
gives its addresses back. It decides anew at each look, so that it can be stopped at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from commands.context import Desk
    from commands.takeover_plan import TakeoverPlan
    from commands.taking_over import Sight

LOOK_SECONDS = 5.0


def takeover(
    from_tags: Annotated[
        str, typer.Option("--from-tags", help="Tags of the old instances: NAME=VALUE[,NAME=VALUE].")
    ] = "managedBy=marlin,project=oyster",
    serve_ended: Annotated[
        bool, typer.Option("--serve-ended", help="Serve open, paid jobs that had ended there.")
    ] = False,
    leave_ended: Annotated[
        bool, typer.Option("--leave-ended", help="Pass these by: written to jobs.pass_by.")
    ] = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take running jobs over: ours beside, switched when proven, the old ones ended.

    Run it with --dry-run first, then before the agent's first start, then beside the agent.
    """
    from commands.context import Need, at_desk
    from faults import UsageFault

    tags = read_tags(from_tags)
    if serve_ended and leave_ended:
        raise UsageFault("choose one of --serve-ended and --leave-ended")
    ended = "serve" if serve_ended else "leave" if leave_ended else ""

    async def work(desk: Desk) -> None:
        run = _Run(desk, tags, config, yes, as_json)
        await (run.show() if dry_run else run.carry_out(ended))

    at_desk(config, work, Need.CARDS)


def read_tags(text: str) -> dict[str, str]:
    """NAME=VALUE, by commas. Raises UsageFault: none, or one that is no pair, or one of ours."""
    from faults import UsageFault

    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(name.strip() and equals for name, equals, _ in pairs):
        raise UsageFault(f"--from-tags {text[:80]!r}: write NAME=VALUE, several by commas")
    if any(name.strip().startswith("oyster:") for name, _, _ in pairs):
        raise UsageFault("--from-tags names tags of this program: its own instances are not ended")
    return {name.strip(): value.strip() for name, _, value in pairs}


class _Run:
    def __init__(
        self, desk: Desk, tags: Mapping[str, str], config: Path | None, yes: bool, as_json: bool
    ) -> None:
        self._desk, self._tags, self._config = desk, tags, config
        self._yes, self._as_json = yes, as_json

    async def show(self) -> None:
        """Everything that is there, and what would be done now."""
        from commands.taking_over import look

        aws = self._desk.open_cloud()
        try:
            seen = await look(self._desk, aws, self._tags)
        finally:
            aws.close()
        if self._as_json:
            print_json({**to_json(seen.plan), "agent": seen.agent, "dry_run": True})
        else:
            self._say(seen)

    async def carry_out(self, ended: str) -> None:
        """Ask, then look and act until nothing is left that may change."""
        from commands.taking_over import act, look
        from faults import RetryLater

        aws = self._desk.open_cloud()
        try:
            seen = await look(self._desk, aws, self._tags)
            if not self._as_json:
                self._say(seen)
            if not seen.agent:
                self._before_the_agent(seen, ended)
                raise RetryLater("no agent runs yet: start it, and run this again beside it")
            agree(self._question(seen), yes=self._yes, as_json=self._as_json)
            while True:
                done = await act(aws, seen.plan)
                if not self._as_json:
                    say("\n".join(done)) if done else None
                if not seen.plan.waits:
                    break
                await self._desk.clock.sleep(LOOK_SECONDS)
                seen = await look(self._desk, aws, self._tags)
        finally:
            aws.close()
        if self._as_json:
            print_json({**to_json(seen.plan), "agent": True, "dry_run": False})
        elif seen.plan.lines:
            say(f"{len(seen.plan.lines)} old instances stay; each says why above")
        else:
            say("nothing of the old control plane is left")

    def _question(self, seen: Sight) -> str:
        count = len(seen.plan.lines)
        return (
            "Is the old control plane stopped, so that it starts nothing again, and are its "
            f"{count} instances to end as ours prove themselves?"
        )

    def _before_the_agent(self, seen: Sight, ended: str) -> None:
        """The jobs that the old one ended: served from the agent's start on, or passed by."""
        from agent.config.load import path_of
        from commands.config_edit import write_settings

        if not seen.plan.unserved:
            return
        named = ", ".join(map(str, seen.plan.unserved))
        if ended == "" and not self._asked(named):
            ended = "leave"
        if ended == "leave":
            known = {*self._desk.config.jobs.pass_by, *map(str, seen.plan.unserved)}
            write_settings(path_of(self._config), {("jobs", "pass_by"): sorted(known, key=int)})
            if not self._as_json:
                say(f"jobs.pass_by has {named} now: the agent will not serve them")

    def _asked(self, named: str) -> bool:
        """Raises UsageFault: nobody is there to ask."""
        import sys

        from faults import UsageFault

        if self._as_json or self._yes or not sys.stdin.isatty():
            text = f"no agent runs yet; jobs {named} are open and paid, and nothing runs for them"
            raise UsageFault(f"{text}: add --serve-ended or --leave-ended, then start the agent")
        return bool(typer.confirm(f"Serve jobs {named}, which had ended there?", err=True))

    def _say(self, seen: Sight) -> None:
        from commands.takeover_plan import in_words

        if not seen.agent:
            say("no agent runs yet: none of this configuration answers, and nothing ends before")
        lines: Sequence[str] = in_words(seen.plan)
        say("\n".join(lines) if lines else "no instance and no address has these tags")
        for job in seen.plan.unserved:
            here = seen.standings.get(job)
            says = f" ({here.standing}{': ' if here.says else ''}{here.says})" if here else ""
            say(f"job {job}: open and paid, nothing runs for it there{says}")


def to_json(plan: TakeoverPlan) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "instances": [
            {
                "instance": line.old.id, "region": line.old.region, "job": line.job,
                "ends": line.ends, "why": line.why,
            }
            for line in plan.lines
        ],
        "addresses": [{"region": one.region, "ip": one.ip} for one in plan.released],
        "unserved": list(plan.unserved),
    }  # fmt: skip
