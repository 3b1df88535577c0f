"""What `doctor` asks of the running agent: is it there, this provider's, this version, well?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import program
from commands.checkup.patient import Finding, Patient, skipped
from faults import RetryLater

# Checks of doctor's own that look at the same: what they find is named there, once. A region's
# check has its name. That another host leads is no trouble, and `hosts` says who.
ALSO: Mapping[str, tuple[str, ...]] = {
    "chain": ("nodes", "chain id"),
    "node": ("nodes", "chain id"),
    "credentials": ("AWS identity",),
    "region": ("AWS identity",),
    "disk": ("disk",),
    "journal": ("journal",),
    "leadership": ("journal", "hosts"),
}


async def agent(patient: Patient) -> list[Finding]:
    """One finding; its health's own words."""
    from commands.agent_asked import NotYet, ask_agent

    listen = patient.config.status.listen
    if not listen:
        return [skipped("agent", "status.listen is empty: the agent can't be asked")]
    try:
        view = await asyncio.to_thread(ask_agent, listen)
    except NotYet as waits:
        return [Finding("agent", "fail", str(waits), "see above; it goes on by itself then")]
    except RetryLater as silent:
        todo = "systemctl start oyster-provider, once the rest is well"
        return [Finding("agent", "warn", str(silent).partition(";")[0], todo)]
    return [_judged(view, patient)]


def _judged(view: dict[str, Any], patient: Patient) -> Finding:
    if patient.provider and view["provider"] != patient.provider:
        text = f"what answers on {patient.config.status.listen} is of provider {view['provider']}"
        return Finding("agent", "fail", text, "give each agent a status.listen of its own")
    if view["version"] != program.version():
        text = f"runs version {view['version']}, installed is {program.version()}"
        return Finding("agent", "warn", text, "systemctl restart oyster-provider")
    return _of_health(view["health"], view["version"], patient)


def _of_health(health: dict[str, Any], version: str, patient: Patient) -> Finding:
    """The agent's word, and of its reasons those that no check before has named."""
    told = [part for part in health["parts"] if part["grade"] != "ok"]
    told = [part for part in told if part["kind"] != "standby"]
    if not told:
        return Finding("agent", "ok", f"{health['word']}, version {version}")
    parts = [part for part in told if not _named(part, patient)]
    if not parts:
        return skipped("agent", f"{health['word']}, for what is named above")
    verdict = "fail" if any(part["grade"] == "fail" for part in parts) else "warn"
    text = "; ".join(f"{part['name']}: {part['text']}".removeprefix(": ") for part in parts)
    todo = next((part["todo"] for part in parts if part["todo"]), "see `oyster-provider status`")
    return Finding("agent", verdict, f"{health['word']}: {text}", todo)


def _named(part: dict[str, Any], patient: Patient) -> bool:
    if part["kind"] == "chain" and patient.nodes and all(node.down for node in patient.nodes):
        return True  # by each node's own name
    names = {*ALSO.get(part["kind"], ()), part["name"]}
    return any(one.name in names and one.verdict in ("warn", "fail") for one in patient.found)
