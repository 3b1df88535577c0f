"""What auditors report of a job, and what follows where the enclave answers here all the same.

An image may answer this agent's address alone, or a way to it may be shut for everybody else: no
question of ours notices, and auditors slash it. Their reports stand on the chain. One that an
outage which was seen here explains calls for nothing more: it was mended. One that nothing here
explains has the enclave restarted, then moved to another instance; and where one more report takes
the stake, the job is left: a report never expires, so that staying risks the stake for as long as
the job lasts, and leaving for the cool-down alone. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.decide.job_view import FaultReport, Host, JobView
from agent.decide.keepalive import HealthRules, Judgement, Verdict, may_restart
from agent.decide.plan import Draft, Level
from agent.market.model import Job

EXPLAINED, UNEXPLAINED = "job.fault_explained", "job.fault_unexplained"  # an auditor's report
FRESH_SECONDS = 120.0  # an auditor asks a few times before it reports: so long it was silent before


def explained(hosts: Iterable[Host], at: float) -> bool | None:
    """Whether what is seen here accounts for a report at second `at`: nothing had run for long, or
    it does not answer here either when it is asked next. None: it was not asked since."""
    ran = [host for host in hosts if host.live and _ran(host, at)]
    if any(host.probe.asked_at is None or host.probe.asked_at <= at for host in ran):
        return None
    return all(host.probe.failures > 0 for host in ran)


def _ran(host: Host, at: float) -> bool:
    begun = _running_since(host)
    return begun is not None and begun <= at - FRESH_SECONDS


def asks_anew(view: JobView, host: Host) -> bool:
    """Whether it has to be asked now, to tell a report that is explained from one that is not."""
    asked = host.probe.asked_at
    news = [report.at for report in view.facts.reports if report.explained is None]
    return any(asked is None or asked <= at for at in news)


def _running_since(host: Host) -> float | None:
    status = host.status
    return status.phases.get("running") if status and status.phase == "running" else None


def unexplained(view: JobView) -> list[FaultReport]:
    """The reports of the present assignment that nothing seen here accounts for."""
    return [report for report in view.facts.reports if report.explained is False]


def overruled(
    host: Host, judgement: Judgement, view: JobView, now: float, rules: HealthRules
) -> Judgement:
    """The verdict on a host that answers here, by what auditors say of it since it runs."""
    begun = _running_since(host)
    news = [report for report in unexplained(view) if begun is not None and report.at > begun]
    if judgement.verdict is not Verdict.WELL or not news:
        return judgement
    verdict = Verdict.ENCLAVE_DEAD if may_restart(host, now, rules) else Verdict.HOST_DEAD
    return Judgement(verdict, f"{told(view)}, though it answers here", doubtful=False)


def tell_reports(view: JobView, draft: Draft) -> None:
    """Who reported it, and of each report whether what was seen here accounts for it."""
    if view.facts.reports:
        draft.note("job.reported", told(view), Level.ERROR)
    for report in view.facts.reports:
        if report.explained is not None:
            draft.note(EXPLAINED if report.explained else UNEXPLAINED, report.auditor)


def told(view: JobView) -> str:
    """Who reported it, and how many it takes."""
    auditors = ", ".join(report.auditor for report in view.facts.reports)
    count, needed = len(view.facts.reports), view.terms.reports_to_slash
    return f"{count} of {needed} auditors that a slash takes report a fault ({auditors})"


def reported_away(view: JobView, job: Job, now: float) -> str:
    """Why a job is left that auditors can't reach; empty: it is kept."""
    ends_at, end = view.terms.leaves_at(job, int(now)), view.terms.ending(job)
    left = view.terms.reports_to_slash - len(view.facts.reports)
    if not unexplained(view) or left > 1 or ends_at is None or not view.terms.at_risk(job):
        return ""
    if end is not None and end.at <= ends_at:
        return ""  # it ends by itself first
    wait = ends_at - now
    return f"{told(view)}, though it answers here: one more takes the stake, leaving {wait:.0f} s"
