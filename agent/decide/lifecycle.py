"""Decide: what to do about one job, from what is so. Pure: no I/O, no clock, no chance.

    head of the chain says         and then
    ──────────────────────         ────────────────────────────────────────────────
    not ours, stopped, unknown     take down what is left of it, once that is final
    over, but not recorded         record it; take down, once that is final
    ours, not up                   bring it up before it is due         (bootstrap)
    ours, up                       keep it answering                    (running)

The same view and time give the same plan. An event that is lost, doubled or reordered changes
when `plan` is called and nothing else (rule 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decide.bootstrap import BootstrapRules, Rules, plan_bootstrap
from agent.decide.ending import (
    EndingRules,
    clean_up,
    record_end,
    request_exit,
    settlement_may_go,
    take_down,
)
from agent.decide.host_orders import EnclaveRules
from agent.decide.job_view import JobView
from agent.decide.keepalive import HealthRules
from agent.decide.plan import DISAGREE, Draft, Level, Plan
from agent.decide.refusal import PolicyRules
from agent.decide.running import plan_running
from agent.market.model import Job, StopReason
from cloud.model import InstanceState
from enclave.web.image_url import told as shown_url

# Everything `outcome_of` may answer: the metrics have a label for each from the start.
NO_SUCH_JOB = "unknown"
OUTCOMES = (*(reason.name.lower() for reason in StopReason if reason), "reassigned", NO_SUCH_JOB)


@dataclass(frozen=True, slots=True)
class LifecycleRules:
    """Everything configurable about a decision."""

    policy: PolicyRules = field(default_factory=PolicyRules)
    bootstrap: BootstrapRules = field(default_factory=BootstrapRules)
    enclave: EnclaveRules = field(default_factory=EnclaveRules)
    health: HealthRules = field(default_factory=HealthRules)
    ending: EndingRules = field(default_factory=EndingRules)

    @property
    def shared(self) -> Rules:
        return Rules(self.bootstrap, self.enclave, self.policy, self.ending)


def plan(view: JobView, now: float, rules: LifecycleRules) -> Plan:
    """What to do about `view.id` at `now` (unix seconds), and when time alone changes that."""
    draft = Draft(stage=stage_of(view, now))
    job = view.head
    if view.disputed:
        draft.note(DISAGREE, _stories(view), Level.ERROR)
    if view.hold:
        draft.look_at(now + rules.ending.next_block_seconds)
    elif job is None or not view.ours:
        _gone(view, now, draft, rules)
    elif view.terms.is_over(job, int(now)):
        _over(view, job, now, draft, rules)
    else:
        _serve(view, job, now, draft, rules)
    return draft.done()


def _stories(view: JobView) -> str:
    """Two endpoints about one job, in a line for a person."""
    believed, other = (_story(view, job) for job in (view.head, view.other))
    return f"endpoints disagree about job {view.id}: one says {believed}, another {other}"


def _story(view: JobView, job: Job | None) -> str:
    if job is None:
        return "there is none"
    if job.provider != view.account.provider:
        return f"it is {job.provider}'s"
    end = view.terms.ending(job)
    until = f", over at {end.at} ({end.reason.name.lower()})" if end else ""
    started = f"started at {job.started_at}" if job.is_started else "not started"
    url = shown_url(job.enclave_url)
    return f"it is ours, generation {job.generation}, {started}, for {url}{until}"


def stage_of(view: JobView, now: float) -> str:
    """One word for people: where the job is on its way."""
    job = view.head
    if job is None:
        return "unknown"
    if job.provider != view.account.provider:
        return "reassigned"
    if job.is_stopped:
        return "stopped"
    if view.terms.is_over(job, int(now)):
        return "over"
    if not view.up:
        return "bootstrapping"
    return "exiting" if job.is_exiting else "running"


def _serve(view: JobView, job: Job, now: float, draft: Draft, rules: LifecycleRules) -> None:
    draft.deadline = float(view.deadline) if not view.up else None
    if view.facts.exit_ordered:
        request_exit(view, now, draft, rules.ending)
    if view.up:
        plan_running(view, job, now, draft, rules.shared, rules.health)
    else:
        plan_bootstrap(view, job, now, draft, rules.shared)
        if view.missed(now):
            take_down(view, view.live, now, draft, rules.ending)
    if view.strays:
        take_down(view, view.strays, now, draft, rules.ending)
    end = view.terms.ending(job)
    draft.look_at(float(end.at) if end is not None else None)


def _over(view: JobView, job: Job, now: float, draft: Draft, rules: LifecycleRules) -> None:
    end = view.terms.ending(job)
    if end is None or not rules.ending.signs or not _to_record(view, job, now):
        _gone(view, now, draft, rules)
        return
    record_end(view, end, now, draft, rules.ending)
    _take_all_down(view, now, draft, rules)


def _to_record(view: JobView, job: Job, now: float) -> bool:
    """Whether its end is for us to settle. Where nothing is lost by leaving that, a job that never
    came up here is not: its user would pay for nothing, and we the gas."""
    served = view.terms.abilities.reports_start or view.served
    return served and view.terms.unrecorded(job, int(now))


def _gone(view: JobView, now: float, draft: Draft, rules: LifecycleRules) -> None:
    """Not to be served: down with what is left, and done when nothing is.

    What something was bought for ends by what is final. For the others one endpoint's word is all
    there is: they are looked at for a while, since nobody wakes us when it was wrong.
    """
    _take_all_down(view, now, draft, rules)
    since = view.facts.gone_since
    lingers = since is not None and now < since + rules.ending.linger_seconds
    if view.launch is None and not view.hosts and lingers:
        draft.look_at(now + rules.ending.look_again_seconds)
        return
    ended = all(host.instance.state is InstanceState.TERMINATED for host in view.hosts)
    ended = ended and not (rules.ending.signs and settlement_may_go(view, now))
    if ended and view.observed.listed_at is not None:
        clean_up(view, draft, outcome_of(view))
    else:
        draft.look_at(now + rules.ending.look_again_seconds)


def outcome_of(view: JobView) -> str:
    """How it ended for this provider, in one word: the protocol's stop reason, or why not ours."""
    job = view.head
    if job is None:
        return NO_SUCH_JOB
    if job.provider != view.account.provider:
        return "reassigned"
    end = view.terms.ending(job)
    return (end.reason if end is not None else job.stop_reason).name.lower()


def _take_all_down(view: JobView, now: float, draft: Draft, rules: LifecycleRules) -> None:
    take_down(view, [host for host in view.hosts if host.live], now, draft, rules.ending)


def needs_final(view: JobView, now: float) -> bool:
    """Whether something irreversible may depend on what the finalized block says."""
    if not any(host.live for host in view.hosts):
        return settlement_may_go(view, now)
    job = view.head
    if job is None or not view.ours or view.strays:
        return True
    return view.missed(now) or view.terms.is_over(job, int(now))
