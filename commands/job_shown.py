"""How a job is shown: its facts for people, the contract's fields and what follows for programs."""

from __future__ import annotations

import hashlib
from typing import Any

from agent.market.model import ZERO_ADDRESS, JobStatus
from agent.market.terms import DueKind
from commands.amounts import show_amount, show_price, show_time, show_until
from commands.context import Standing
from commands.dialect import moment, price, tokens
from commands.told import Told
from enclave.web.image_url import told as shown_url


def to_json(told: Told, standing: Standing) -> dict[str, Any]:
    """A job for programs: the contract's fields by its names, and what follows from them."""
    job, (at, why), money = told.job, deadline_of(told, standing), standing.money
    return {
        "job": job.id, "user": job.user, "provider": job.provider,
        "instance_type": job.instance_type, "price": price(job.price, money),
        "max_price": price(job.max_price, money), "enclave_url": shown_url(job.enclave_url),
        "generation": job.generation, "status": job.status.name.lower(),
        "stop_reason": job.stop_reason.name.lower(), "assigned_at": moment(job.assigned_at),
        "started_at": moment(job.started_at), "exit_requested_at": moment(job.exit_requested_at),
        "stopped_at": moment(job.stopped_at), "escrow": tokens(job.escrow, money),
        "settled_until": moment(job.settled_until), "endpoint": job.endpoint,
        "state": state_of(told, standing), "refused": told.refused, "deadline": moment(at),
        "deadline_is": why, "notice": _notice_json(told, standing), "workload": _work_json(told),
        "accrued": tokens(standing.terms.accrued(job, standing.at.timestamp), money),
        "earned": None if told.earned is None else tokens(told.earned, money),
        "block": standing.at.number,
    }  # fmt: skip


def _notice_json(told: Told, standing: Standing) -> dict[str, Any] | None:
    notice = told.job.notice
    if notice is None:
        return None
    return {"price": price(notice.price, standing.money), "at": moment(notice.at)}


def _work_json(told: Told) -> dict[str, Any] | None:
    """What the user asks of the enclave, on markets where that stands in the job."""
    work = told.job.workload
    if work is None:
        return None
    given = work.init_params
    return {
        "memory_mib": work.memory_mib, "cpu_count": work.cpu_count, "family": work.family,
        "debug": work.debug,
        "init_params_sha256": hashlib.sha256(given).hexdigest() if given else None,
    }  # fmt: skip


def state_of(told: Told, standing: Standing) -> str:
    job, now = told.job, standing.at.timestamp
    if job.is_stopped or not standing.terms.is_over(job, now):
        if not job.is_stopped and (told.refused or told.awaited):
            return "refused" if told.refused else JobStatus.BOOTSTRAPPING.name.lower()
        return job.status.name.lower()
    return "over, not settled" if standing.terms.unrecorded(job, now) else "over"


def deadline_of(told: Told, standing: Standing) -> tuple[int | None, str]:
    job, terms = told.job, standing.terms
    if job.is_stopped:
        return None, ""
    if not job.is_started and standing.abilities.reports_start:
        due = terms.due(job)
        return due.at, "slash point" if due.kind is DueKind.SLASH else "goal"
    end = terms.ending(job)
    return (end.at, end.reason.name.lower().replace("_", " ")) if end else (None, "")


def facts_of(told: Told, standing: Standing) -> list[tuple[str, object]]:
    job, money, now = told.job, standing.money, standing.at.timestamp
    at, why = deadline_of(told, standing)
    stopped = f"{show_time(job.stopped_at)} ({job.stop_reason.name.lower()})"
    earned = told.earned
    return [
        ("job", f"{job.id}, generation {job.generation}"),
        ("state", state_of(told, standing)),
        *([("refused", told.refused)] if told.refused else []),
        ("type", job.instance_type or "-"),
        ("price", show_price(job.price, money)),
        *_announced(told, standing),
        ("image", shown_url(job.enclave_url) or "-"),
        *_asked(told),
        ("user", "-" if job.user == ZERO_ADDRESS else job.user),
        ("provider", job.provider),
        ("endpoint", job.endpoint or "-"),
        ("assigned", show_time(job.assigned_at)),
        ("started", show_time(job.started_at)),
        ("exit asked", show_time(job.exit_requested_at)),
        ("stopped", stopped if job.is_stopped else "-"),
        ("next", show_until(at - now, why) if at else "-"),
        ("earned", "no node tells" if earned is None else show_amount(earned, money, 6)),
        ("escrow left", show_amount(job.escrow - standing.terms.accrued(job, now), money, 6)),
    ]


def _announced(told: Told, standing: Standing) -> list[tuple[str, object]]:
    notice = told.job.notice
    if notice is None:
        return []
    text = f"{show_price(notice.price, standing.money)}, from {show_time(notice.at)} UTC on"
    return [("announced", text)]


def _asked(told: Told) -> list[tuple[str, object]]:
    work = told.job.workload
    if work is None:
        return []
    extras = [f"init params of {len(work.init_params)} bytes"] if work.init_params else []
    extras += ["debug"] if work.debug else []
    room = f"{work.memory_mib} MiB, {work.cpu_count} CPUs, {work.family}"
    return [("enclave", ", ".join([room, *extras]))]
