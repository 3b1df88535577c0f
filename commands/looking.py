"""The configuration of a command that looks, or orders something of the agent that runs.

An agent goes on with what it read when its file is broken afterwards, and must be seen and told
then more than ever: such a command goes by what the agent goes by, and names what is wrong with the
file. One that acts by the file itself (offers, keys, a start) refuses, as it should.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.terminal import say
from faults import Fault, UsageFault

if TYPE_CHECKING:
    from agent.config import Config


def looking(given: Path | None) -> Config:
    """What the file says; where it is broken, what its agent runs with, if one answers. Raises
    ConfigFault: the file is broken, and nobody runs."""
    from agent.config import ConfigFault, load
    from agent.config.load import path_of
    from agent.config.running import running

    try:
        return load(given)
    except ConfigFault as fault:
        runs = running(path_of(given))
        if runs is None or not _runs(runs.status.listen):
            raise
        say(f"! {fault}", err=True)
        say("! what follows is by what the agent runs with, which it read before", err=True)
        return runs


def _runs(listen: str) -> bool:
    from commands.agent_asked import NotYet, ask_agent

    try:
        ask_agent(listen)
    except NotYet:
        return True
    except Fault:
        return False
    return True


def ask_running(given: Path | None, *, jobs: bool = False) -> tuple[dict[str, Any], str]:
    """The view of the agent of this file, and what is wrong with the file; "" for nothing. Nothing
    but the agent's own word is needed, so that whoever may not read the file sees it too. Raises
    what `ask_agent` does; ConfigFault: the file is broken, and no agent of its answers."""
    from agent.config import ConfigFault, load
    from agent.config.load import path_of
    from agent.config.running import glimpse, running
    from commands.agent_asked import NotYet, ask_agent

    try:
        return ask_agent(load(given).status.listen, jobs=jobs), ""
    except ConfigFault as broken:
        path = path_of(given)
        runs = running(path)
        listen = runs.status.listen if runs else glimpse(path).listen
        try:
            view = ask_agent(listen, jobs=jobs)
        except NotYet:
            raise
        except Fault:
            raise broken from None
        if view.get("config") != str(path.resolve()):
            raise UsageFault(f"{broken}. The agent on {listen} goes by another file") from None
        return view, str(broken)
