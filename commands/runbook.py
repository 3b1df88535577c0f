"""`oyster-provider runbook`: what to do about an alert, where no browser is at hand."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.terminal import JsonOption, print_json, say


def _names() -> list[str]:
    from agent.status.runbook import sections

    return list(sections())


def runbook(
    name: Annotated[
        str | None,
        typer.Argument(help="The alert's name: gas-low or OysterGasLow.", autocompletion=_names),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What to do about an alert; without a name, all alerts there are."""
    from agent.status.runbook import sections
    from faults import UsageFault

    found = sections()
    if name is None:
        if as_json:
            print_json([{"name": key, "title": title} for key, (title, _) in found.items()])
        else:
            say("\n".join(found))
        return
    key = _key(name)
    if key not in found:
        raise UsageFault(f"{name[:60]!r} is no alert; `oyster-provider runbook` lists them")
    title, text = found[key]
    if as_json:
        print_json({"name": key, "title": title, "text": text})
    else:
        say(f"{title}\n\n{text}")


def _key(name: str) -> str:
    """OysterGasLow and gas-low are one."""
    import re

    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removeprefix("Oyster")).lower()
