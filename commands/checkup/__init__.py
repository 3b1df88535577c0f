"""The checks of `doctor`: each looks at one thing and says what it found and what to do.

They are independent: what one needs and another found broken (no node answers, say) is skipped
with the reason, and everything else is still looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from agent.config import ConfigFault, load
from agent.config.load import path_of
from agent.config.running import running
from commands.checkup import agent, aws, chain, here, nodes, proxies, refusals, several
from commands.checkup.patient import Finding, Patient, skipped
from faults import Fault

__all__ = ["Finding", "examine"]

CHECKS: tuple[tuple[str, Callable[[Patient], Any]], ...] = (
    ("key", chain.key),
    ("proxies", proxies.proxies),
    ("nodes", nodes.nodes),
    ("chain id", chain.chain),
    ("finality", nodes.finality),
    ("reads at a block", nodes.at_hash),
    ("batches", nodes.batches),
    ("job ids", nodes.ids),
    ("contract", chain.contract),
    ("clock", chain.clock),
    ("gas", chain.gas),
    ("stake", chain.stake),
    ("offers", chain.offers),
    ("refusals", refusals.refusals),
    ("AWS identity", aws.identity),
    ("clock by AWS", aws.clock),
    ("AWS regions", aws.regions),
    ("journal", here.journal),
    ("retired regions", aws.left),
    ("permissions", aws.permissions),
    ("quotas", aws.quotas),
    ("capacity", aws.types),
    ("images", here.ipfs),
    ("disk", here.disk),
    ("hosts", several.hosts),
    ("bugs", here.bugs),
    ("service", here.systemd),
    ("agent", agent.agent),
)

ADVICE = {
    "key": "see [wallet] in the configuration; `oyster-provider keys show` looks at one",
    "chain id": "see the nodes above; check chain.rpc_urls and chain.chain_id",
    "contract": "check chain.registry",
    "journal": "move the file away; it is history, no job depends on it",
}
ON_A_SERVER = {"journal": "see docs/several-hosts.md, When PostgreSQL is away"}


def _advice(name: str, patient: Patient) -> str:
    several = ON_A_SERVER if patient.config.journal.url_file else {}
    return several.get(name, ADVICE.get(name, ""))


async def examine(given: Path | None) -> list[Finding]:
    """All findings, in the order in which one would set things right."""
    path = path_of(given)
    try:
        return await _looked_at(Patient(load(given), path), here.file)
    except ConfigFault as fault:
        broken = list(_broken(fault))
    runs = running(path)
    if runs is None:
        why = "the configuration can't be read, and no agent says what it runs with"
        return [*broken, skipped("all else", why)]
    by = "all below is by what the agent last ran with"
    told = Finding("configuration", "warn", by, "mend the file, then look again")
    return [*broken, *await _looked_at(Patient(runs, path), lambda patient: told)]


def _broken(fault: ConfigFault) -> Iterator[Finding]:
    for problem in fault.problems:
        yield Finding("configuration", "fail", problem, "see docs/configuration.md")


async def _looked_at(patient: Patient, file: Callable[[Patient], Finding]) -> list[Finding]:
    async with patient.stack:
        return [file(patient), *[finding async for finding in _all(patient)]]


async def _all(patient: Patient) -> AsyncIterator[Finding]:
    for name, check in CHECKS:
        try:
            found = await check(patient)
        except Fault as fault:
            patient.failed.add(name)
            found = [Finding(name, "fail", str(fault), _advice(name, patient))]
        patient.found += found
        for finding in found:
            yield finding
