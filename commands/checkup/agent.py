"""What `doctor` asks of the running agent: is it there, this provider's, this version, well?"""

from __future__ import annotations

import asyncio
from typing import Any

import program
from commands.checkup.patient import Finding, Patient, skipped
from faults import RetryLater

# What doctor can't see by itself; of the rest it has a check of its own, and a cause is named once.
OWN = frozenset(
    {"loop", "start", "jobs", "file", "offer", "terminations", "wallet", "effects", "journal"}
)


async def agent(patient: Patient) -> list[Finding]:
    """One finding; its health's own words."""
    from commands.look import ask_agent

    listen = patient.config.status.listen
    if not listen:
        return [skipped("agent", "status.listen is empty: the agent can't be asked")]
    try:
        view = await asyncio.to_thread(ask_agent, listen)
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
    health = view["health"]
    parts = [part for part in health["parts"] if part["kind"] in OWN and part["grade"] != "ok"]
    if not parts:
        return Finding("agent", "ok", f"{health['word']}, version {view['version']}")
    verdict = "fail" if any(part["grade"] == "fail" for part in parts) else "warn"
    text = "; ".join(f"{part['name']}: {part['text']}".removeprefix(": ") for part in parts)
    todo = next((part["todo"] for part in parts if part["todo"]), "see `oyster-provider status`")
    return Finding("agent", verdict, text, todo)
