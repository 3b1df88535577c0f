"""How far a job that comes up is, stage by stage, from what chain, cloud and host say.

For people: the status page draws it. Nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.decide.deadline import HOST_STAGES, TAIL_STAGES, Budget, Stage
from agent.decide.job_view import Host, ImagePhase, JobView, TxPhase
from agent.load.fleet import Fleet
from agent.load.remembered import JobMemory
from agent.ports import Call
from agent.status.source import StageRow
from cloud.model import InstanceState

_BEGUN = (ImagePhase.FETCHING, ImagePhase.READY, ImagePhase.FAILED)


def current(job: JobMemory, fleet: Fleet) -> JobView | None:
    """The view of the last decision, with what has become known since; None before the first."""
    if job.view is None:
        return None
    hosts, sent = fleet.hosts(job.id), job.transactions
    return replace(job.view, image=job.image, transactions=sent, hosts=hosts)


def stages_of(view: JobView, host: Host | None, now: float, budget: Budget) -> tuple[StageRow, ...]:
    """The stages that have begun, of an assignment that is not reported started; else none."""
    if view.head is None or view.up or not view.ours:
        return ()
    rows = [*_image(view), *(_host(host, now, budget) if host else ()), *_report(view)]
    return tuple(sorted(rows, key=lambda row: row.started_at))


def usual_seconds(view: JobView, budget: Budget) -> float:
    """How long a start usually takes, for one that is under way; 0 for any other job."""
    if view.head is None or view.up or not view.ours:
        return 0.0
    return budget.usual(*HOST_STAGES, *TAIL_STAGES)


def _image(view: JobView) -> Iterator[StageRow]:
    image, job = view.image, view.head
    if image.phase not in _BEGUN or job is None:
        return
    ready = image.phase is ImagePhase.READY
    begun = min(float(job.assigned_at), image.since)
    yield StageRow(Stage.IMAGE.value, begun, image.since if ready else None)


def _host(host: Host, now: float, budget: Budget) -> Iterator[StageRow]:
    """EC2 does not say when an instance came to run: launch and boot are shared out as usual."""
    launched = host.instance.launched_at
    phases = host.status.phases if host.status else {}
    booted, running = phases.get("booted"), phases.get("running")
    if host.instance.state is InstanceState.PENDING:
        yield StageRow(Stage.LAUNCH.value, launched)
        return
    share = budget.usual(Stage.LAUNCH) / budget.usual(*HOST_STAGES)
    up = launched + share * ((booted if booted is not None else now) - launched)
    yield StageRow(Stage.LAUNCH.value, launched, up)
    yield StageRow(Stage.BOOT.value, up, booted)
    if booted is not None and "fetching" in phases:
        yield StageRow(Stage.ENCLAVE.value, max(booted, phases["fetching"]), running)
    if running is not None:
        passed = host.probe.passed_at if host.attested else None
        begun = running if passed is None else min(running, passed)  # two clocks
        yield StageRow(Stage.ATTEST.value, begun, passed)


def _report(view: JobView) -> Iterator[StageRow]:
    call = f":{Call.REPORT_STARTED.value}:"
    sent = [tx for key, tx in view.transactions.items() if call in key]
    if sent and sent[-1].phase is TxPhase.SENT:
        yield StageRow(Stage.REPORT.value, sent[-1].at)
