"""`oyster-provider doctor`: named checks of everything the agent needs, each with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commands.terminal import ConfigOption, JsonOption, print_entries, print_json, say, waiting
from faults import Refused

if TYPE_CHECKING:
    from commands.checkup import Finding

_MARKS = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "skip": "skipped"}


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check everything the agent needs; exit 3 when something would keep it from serving."""
    import asyncio

    from commands.checkup import examine
    from commands.context import quiet

    quiet()
    waiting("looking at chain, AWS, images and this machine: some seconds")
    findings = asyncio.run(examine(config))
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        _print(findings)
    failed = [finding.name for finding in findings if finding.verdict == "fail"]
    if failed:
        raise Refused(f"{len(failed)} of {len(findings)} checks failed; each says what to do")


def _print(findings: list[Finding]) -> None:
    rows = [(each.name, _MARKS[each.verdict], each.found, each.todo) for each in findings]
    print_entries(("check", "", "found"), rows, empty="", last="what to do")
    bad = sum(each.verdict in ("warn", "fail") for each in findings)
    say(f"{len(findings)} checks, {bad} to look at" if bad else "all is well")
