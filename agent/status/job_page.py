"""Everything about one job, for its own page: the chain's facts, money, proof, timeline. Pure.

What users wrote goes out as JSON text; links are made of checked hex alone (`explorer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.decide.job_view import Host
from agent.journal.lines import Event
from agent.journal.wording import said_fields
from agent.load.proofs import proofs_of, said
from agent.load.remembered import JobMemory
from agent.market.model import Job, JobId
from agent.market.terms import Terms
from agent.status.explorer import Explorer
from agent.status.job_rows import money_of
from agent.status.notebook import Chapter
from agent.status.source import JobRow, job_json
from agent.status.traffic import traffic_of
from enclave.web.image_url import told

_LEVELS = ((40, "error"), (30, "warning"), (20, "info"), (0, "debug"))


@dataclass(frozen=True, slots=True)
class JobFacts:
    """`job` None: the chain could not be asked, or does not know it. `cost` None: not known."""

    id: JobId
    now: float
    job: Job | None
    terms: Terms | None
    memory: JobMemory | None
    row: JobRow | None
    timeline: Sequence[Event]
    chapter: Chapter
    cost: int | None
    gas: int
    attested: Event | None
    hosts: tuple[Host, ...]
    explorer: Explorer
    window_seconds: int
    goal_seconds: int = 0
    up_seconds: float | None = None
    starts_on_chain: bool = True
    earned: int | None = None  # base units, settled or not; None: nobody knows


def to_json(facts: JobFacts) -> dict[str, Any]:
    """Amounts are texts in base units, times unix seconds, as everywhere on the page."""
    return {
        "id": facts.id,
        "now": facts.now,
        "row": job_json(facts.row) if facts.row else None,
        "chain": _chain(facts),
        "money": _money(facts),
        "attestation": _attestation(facts),
        "harms": [asdict(harm) for harm in facts.chapter.harms.values()],
        "outcome": facts.chapter.outcome,
        "ended_at": facts.chapter.ended_at,
        "window_seconds": facts.window_seconds,
        "goal_seconds": facts.goal_seconds,
        "up_seconds": facts.up_seconds,
        "timeline": [_line(event, facts.explorer) for event in facts.timeline],
    }


def _chain(facts: JobFacts) -> dict[str, Any] | None:
    job = facts.job
    if job is None:
        return None
    return {
        "user": job.user, "user_link": facts.explorer.account(job.user),
        "provider": job.provider, "provider_link": facts.explorer.account(job.provider),
        "instance_type": job.instance_type, "enclave_url": told(job.enclave_url),
        "generation": job.generation, "status": job.status.name.lower(),
        "stop_reason": job.stop_reason.name.lower(), "endpoint": job.endpoint,
        "price": str(job.price.raw), "max_price": str(job.max_price.raw),
        **{
            name: getattr(job, name) or None
            for name in ("assigned_at", "started_at", "exit_requested_at", "stopped_at")
            if facts.starts_on_chain or name != "started_at"  # it is the opening, elsewhere
        },
    }  # fmt: skip


def _money(facts: JobFacts) -> dict[str, Any]:
    left, earned = None, facts.earned
    if facts.job and facts.terms:
        left = money_of(facts.job, facts.terms, int(facts.now))[1]
    margin = None if earned is None or facts.cost is None else earned - facts.cost
    amounts = {
        "earned": earned, "escrow": left, "cost": facts.cost, "margin": margin,
        "gas": facts.gas, "slashed": facts.chapter.slashed,
    }  # fmt: skip
    return {name: None if each is None else str(each) for name, each in amounts.items()}


def _attestation(facts: JobFacts) -> dict[str, Any]:
    """What proved itself, and how the enclave answered since."""
    event, image = facts.attested, facts.memory.image.image if facts.memory else None
    return {
        "attested_at": event.at if event else None,
        "words": [list(pair) for pair in said(proofs_of(facts.job, facts.timeline))]
        if facts.job
        else [],
        "instance": str(event.fields.get("instance", "")) if event else "",
        "run": str(event.fields.get("run", "")) if event else "",
        "image": image.cid if image else "",
        "pcrs": {f"PCR{number}": pcr for number, pcr in image.pcrs.items()} if image else {},
        "hosts": [_host(host) for host in facts.hosts],
    }


def _host(host: Host) -> dict[str, Any]:
    return {
        "instance": host.instance.id, "zone": host.instance.zone,
        "state": host.instance.state.value, "launched_at": host.instance.launched_at,
        "attempt": host.attempt, "attested": host.attested, "asked_at": host.probe.asked_at,
        "passed_at": host.probe.passed_at, "failures": host.probe.failures,
        "refused": host.probe.refused, "traffic": _traffic(host),
    }  # fmt: skip


def _traffic(host: Host) -> dict[str, Any] | None:
    found = traffic_of(host.status) if host.status else None
    return {**asdict(found), "words": found.words} if found else None


def _line(event: Event, explorer: Explorer) -> dict[str, Any]:
    level = next(word for least, word in _LEVELS if event.level >= least)
    fields = dict(said_fields(event))
    return {
        "at": event.at, "name": event.name, "generation": event.generation, "level": level,
        "text": event.text, "fields": fields,
        "link": explorer.transaction(event.fields.get("tx")),
    }  # fmt: skip
