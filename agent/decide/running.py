"""A started job: asked on a cadence, restarted on its host, moved to a new one, never doubled.

A replacement keeps the generation and takes the next attempt. The old instance goes when the new
one has proven itself, so that a mistaken verdict costs money and not the user's enclave; only
where there is no room for both, the dead one goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.clock import JUMP_SECONDS
from agent.decide.bootstrap import (
    IMAGE_SECONDS,
    Rules,
    fetch_image,
    give_back,
    latest_useful,
    launch,
    told_double,
)
from agent.decide.changed_jobs import held_by_change
from agent.decide.deadline import HOST_STAGES, Stage
from agent.decide.ending import collect, leave
from agent.decide.fault_reports import asks_anew, overruled, reported_away, tell_reports
from agent.decide.give_up_running import unwanted, worth_leaving
from agent.decide.host_orders import (
    attest_when_due,
    can_read_orders,
    next_run,
    prepare_hosts,
    question_for,
    too_old,
    write_desired,
)
from agent.decide.job_view import Host, JobView, LaunchPhase
from agent.decide.keepalive import (
    HealthRules,
    Judgement,
    Verdict,
    backoff_until,
    clock_time,
    heartbeat_stale,
    judge,
    next_probe_at,
    silent_since,
)
from agent.decide.plan import Draft, Level
from agent.decide.relaunch_after_death import tell_deaths
from agent.market.model import Job
from cloud.ec2.reconcile import duplicates
from cloud.request_budget import Urgency


@dataclass(frozen=True, slots=True)
class Duty:
    """A started job at one moment (unix seconds), and the plan that is drafted for it."""

    view: JobView
    job: Job
    now: float
    draft: Draft
    rules: Rules
    health: HealthRules
    held: bool  # its user has changed it to what is not served: nothing is ordered for it


@dataclass(frozen=True, slots=True)
class Judged:
    """One host of the job and the verdict on it."""

    host: Host
    judgement: Judgement


def plan_running(
    view: JobView, job: Job, now: float, draft: Draft, rules: Rules, health: HealthRules
) -> None:
    """Started: keep it answering until it is over."""
    end = view.terms.ending(job)
    draft.look_at(float(end.at) if end is not None else None)
    judged = [Judged(host, _judge(host, view, now, rules, health)) for host in view.live]
    held = held_by_change(view, now, draft, rules.policy)
    if not held and _wants_image(view, judged, now, health):
        fetch_image(view, job, now + IMAGE_SECONDS, now, draft)
    collect(view, now, draft, rules.ending)
    duty = Duty(view, job, now, draft, rules, health, held)
    tell_deaths(view, job, draft)
    tell_reports(view, draft)
    _leave(duty, unwanted(view, job, now, rules.policy) or reported_away(view, job, now))
    if view.live:
        _tend(duty, judged)
    elif view.hosts or not _unsure(duty):
        _replace(duty, "no instance is left")


def _judge(host: Host, view: JobView, now: float, rules: Rules, health: HealthRules) -> Judgement:
    found = overruled(host, judge(host, view.observed, now, health), view, now, health)
    if found.verdict is Verdict.HOST_DEAD:
        return found
    if found.verdict is Verdict.ENCLAVE_DEAD:
        return _beyond_restart(host, view, found, rules)
    old = too_old(view, host, rules.enclave)
    return Judgement(Verdict.LEAVING, old, doubtful=False) if old else found


def _beyond_restart(host: Host, view: JobView, found: Judgement, rules: Rules) -> Judgement:
    """A restart is an order, which the host's program may be too old for."""
    image = view.image.image
    if image is None or view.workload is None:
        return found
    if can_read_orders(view, host, image, rules.enclave):
        return found
    why = f"{found.why}, and its host program is too old to be told to restart it"
    return replace(found, verdict=Verdict.HOST_DEAD, why=why)


def _tend(duty: Duty, judged: Sequence[Judged]) -> None:
    view, draft = duty.view, duty.draft
    if not duty.held:
        prepare_hosts(view, [one.host for one in judged], duty.now, draft, duty.rules.enclave)
    _drop_spares(view, duty.job, judged, draft)
    for one in judged:
        _care(duty, one)
    _mend(duty, judged)


def _wants_image(view: JobView, judged: Sequence[Judged], now: float, health: HealthRules) -> bool:
    """Not yet for one host that is well and not to be asked yet: after a restart thousands are."""
    if len(judged) != 1 or judged[0].judgement.verdict is not Verdict.WELL:
        return True
    return now >= _next_probe_at(view, judged[0].host, now, health)


def _next_probe_at(view: JobView, host: Host, now: float, health: HealthRules) -> float:
    """When to ask the enclave; at once where the clock was set back since it was asked last."""
    asked_at = host.probe.asked_at
    if asks_anew(view, host):
        return now
    if asked_at is not None and asked_at > now + JUMP_SECONDS:
        return now
    return next_probe_at(host, health, _since(view, now))


def _since(view: JobView, now: float) -> float | None:
    """When this process first looked; None by a clock that was set back since."""
    since = view.observed.since
    return since if since is None or since <= now else None


def _unsure(duty: Duty) -> bool:
    """Whether this process has not looked for long enough to say that the instance is gone."""
    left = duty.rules.bootstrap.visible_seconds - duty.view.observed.looked_seconds
    duty.draft.look_at(duty.now + max(left, 0.0))
    return left > 0


def _drop_spares(view: JobView, job: Job, judged: Sequence[Judged], draft: Draft) -> None:
    """Once one of several proves itself, the others go: the losers of a race, the replaced.

    The one that was reported stays if it can: users have been told where it is. Never one whose
    end was asked for already, though it may prove itself while EC2 has not ended it yet; nor one
    whose machine goes: that serves until its replacement has proven itself.
    """
    for found in duplicates(one.host.instance for one in judged):
        told_double(found, draft)
    proven = [one.host for one in judged if one.host.attested and one.host.probe.failures == 0]
    leaving = [one.host for one in judged if one.judgement.verdict is Verdict.LEAVING]
    proven = [host for host in proven if not host.condemned and host not in leaving]
    if not proven or len(judged) < 2:
        return
    keep = min(proven, key=lambda host: (not _reported(job, host), host.attempt, host.instance.id))
    spares = [one.host for one in judged if one.host is not keep]
    give_back(view, spares, f"attempt {keep.attempt} serves", draft)


def _reported(job: Job, host: Host) -> bool:
    return job.endpoint.partition(":")[0] == host.instance.public_ip


def _care(duty: Duty, one: Judged) -> None:
    """Ask when it is due; a silent heartbeat brings the next question forward."""
    host, now, draft, health = one.host, duty.now, duty.draft, duty.health
    due = _next_probe_at(duty.view, host, now, health)
    if heartbeat_stale(host, duty.view.observed, health) and host.probe.failures == 0:
        due = min(due, (host.probe.asked_at or 0.0) + health.retry_seconds)
    elif host.written_at is not None:
        stale_at = host.written_at + health.heartbeat_seconds + 1.0
        draft.look_at(stale_at if stale_at > now else now + health.heartbeat_seconds)
    if now >= due:
        question = question_for(duty.view, host, duty.rules.enclave)
        attest_when_due(question, host, now, 0.0, draft)
        draft.look_at(now + health.retry_seconds)
    else:
        draft.look_at(due)
    if host.unhealthy_since is not None and one.judgement.verdict is Verdict.WELL:
        draft.look_at(host.unhealthy_since + health.impaired_seconds)
    if one.judgement.verdict not in (Verdict.WELL, Verdict.COMING):
        draft.note("job.ill", f"{host.instance.id}: {one.judgement.why}", Level.WARNING)


def _mend(duty: Duty, judged: Sequence[Judged]) -> None:
    """Restart in place, else replace; nothing while another instance may be well."""
    dead = [one for one in judged if one.judgement.verdict in _DEAD]
    leaving = [one for one in judged if one.judgement.verdict is Verdict.LEAVING]
    if leaving and len(dead) + len(leaving) == len(judged):
        _move(duty, dead, leaving)
        return
    if not dead:
        return
    duty.draft.stage = "ill"
    if duty.view.doubt and all(one.judgement.doubtful for one in dead):
        text = "much looks dead at once: doubting this observer"
        duty.draft.note("job.doubted", text, Level.WARNING)
        duty.draft.look_at(duty.now + duty.health.retry_seconds)
        return
    if len(dead) < len(judged):
        return
    for one in dead:
        if one.judgement.verdict is Verdict.ENCLAVE_DEAD:
            _restart(duty, one)
    if all(one.judgement.verdict is Verdict.HOST_DEAD for one in dead):
        _make_way(duty, dead)
        _replace(duty, dead[0].judgement.why)


def _move(duty: Duty, dead: Sequence[Judged], leaving: Sequence[Judged]) -> None:
    """What answers will lose its machine: its replacement comes up beside it, and it goes when
    that has proven itself (`_drop_spares`). Not for a job that ends before its machine does."""
    give_back(duty.view, [one.host for one in dead], "dead, beside one that is to move", duty.draft)
    host, end = leaving[0].host, duty.view.terms.ending(duty.job)
    ending = host.instance.ending
    if end is not None and ending is not None and end.at <= ending.at:
        duty.draft.note("job.ends_first", f"{leaving[0].judgement.why}: the job ends before that")
        return
    if not dead:
        _replace(duty, f"{host.instance.id}: {leaving[0].judgement.why}")


_DEAD = frozenset({Verdict.ENCLAVE_DEAD, Verdict.HOST_DEAD})


def _restart(duty: Duty, one: Judged) -> None:
    """The same host, another run: the host program starts the enclave anew."""
    view, draft, host, image = duty.view, duty.draft, one.host, duty.view.image.image
    ready = image is not None and host.instance.region in view.image.staged
    if image is None or view.workload is None or not ready or duty.held:
        draft.look_at(duty.now + duty.health.retry_seconds)
        return
    draft.note("enclave.restarted", f"{host.instance.id}: {one.judgement.why}", Level.WARNING)
    draft.do(write_desired(view, host, image, next_run(view, host), duty.rules.enclave))
    draft.look_at(duty.now + duty.health.restart_seconds)


def _make_way(duty: Duty, dead: Sequence[Judged]) -> None:
    """No room for a second instance: the dead one goes before its replacement comes. Not soon where
    it is only this agent that it does not answer: what others may reach is worth more than room in
    which nothing may come up either."""
    view, draft, now = duty.view, duty.draft, duty.now
    if view.launch is None or view.launch.phase is not LaunchPhase.NOWHERE:
        return
    alone = [one.host for one in dead if one.judgement.alone]
    since = max((silent_since(host, view.observed) for host in alone), default=0.0)
    if now < since + duty.health.doubt_seconds:
        draft.look_at(since + duty.health.doubt_seconds)
        return
    hosts = [one.host for one in dead]
    give_back(view, hosts, "dead, and no room for its replacement beside it", draft)


def _replace(duty: Duty, why: str) -> None:
    """Another instance, not before the back-off allows and not for a job that ends sooner."""
    view, now, draft = duty.view, duty.now, duty.draft
    draft.stage = "replacing"
    if view.observed.listed_at is None:
        draft.look_at(now + duty.health.retry_seconds)
        return
    if len(view.live) >= duty.rules.bootstrap.max_live:
        give_back(view, view.live[:1], f"dead: {why}", draft)
        return
    allowed = backoff_until(_launches(view, duty.job), duty.health)
    if now < allowed:
        _leave(duty, worth_leaving(view, duty.job, allowed, now))
        draft.note("job.backoff", f"{why}: the next instance at {clock_time(allowed)}")
        draft.look_at(allowed)
        return
    needed = duty.rules.bootstrap.budget.usual(*HOST_STAGES, Stage.ENCLAVE)
    latest = latest_useful(view, duty.job, needed)
    if now >= latest:
        draft.note("job.ends_first", f"{why}: it ends before a new instance could serve")
        return
    draft.note("job.replaced", why, Level.WARNING)
    launch(view, duty.job, now, draft, duty.rules, Urgency(now + needed, latest))


def _leave(duty: Duty, why: str) -> None:
    """Ask for the exit, once, where there is a reason: until it has passed the job is served."""
    view, wanted = duty.view, duty.rules.bootstrap.leave_refused
    if not (why and wanted and view.terms.abilities.can_exit) or duty.job.exit_requested_at:
        return
    if view.agreed:
        duty.draft.note("job.left", why, Level.ERROR)
    leave(view, duty.now, duty.draft, duty.rules.ending, told=view.agreed)


def _launches(view: JobView, job: Job) -> list[float]:
    """When this generation's instances were launched, the last one from memory if unlisted."""
    times = [h.instance.launched_at for h in view.hosts if h.generation == job.generation]
    known = view.launch
    if known is not None and known.generation == job.generation and known.instance is not None:
        listed = any(host.instance.id == known.instance for host in view.hosts)
        times += [] if listed else [known.at]
    return times
