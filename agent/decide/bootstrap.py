"""From the assignment to reportStarted: what to start, what to race, what to give up, and when.

Everything is computed from the stored deadline `assigned_at + JobBootstrapping`, so a restart
grants no extra time. What cannot finish is not bought; what was bought is used to the last second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.clock import passed
from agent.decide.changed_jobs import changed, held_by_change
from agent.decide.cost_of_refusing import Way, exit_now, say_loss, say_price, way_out
from agent.decide.deadline import HOST_STAGES, Budget, Stage
from agent.decide.ending import EndingRules, leave, may_become_started, may_send, next_key
from agent.decide.host_orders import EnclaveRules, attest_when_due, prepare_hosts, question_for
from agent.decide.job_view import Host, ImagePhase, JobView, LaunchPhase
from agent.decide.keepalive import clock_time
from agent.decide.plan import (
    Draft,
    FetchImage,
    Launch,
    Level,
    ReportStarted,
    Terminate,
)
from agent.decide.race import all_late
from agent.decide.refusal import PolicyRules, Refusal, vet, vet_image
from agent.decide.relaunch_after_death import detour, next_try_at, tell_deaths
from agent.market.model import Job
from agent.ports import Call, Order
from cloud.ec2.reconcile import Duplicates, duplicates
from cloud.model import Identity, LaunchOrder, Region
from cloud.request_budget import Urgency

NEW_INSTANCE = (*HOST_STAGES, Stage.ENCLAVE)
IMAGE_SECONDS = 3600.0  # where no deadline presses, as for an image asked for its PCRs alone


@dataclass(frozen=True, slots=True)
class BootstrapRules:
    """`leave_refused`: a job that is not served is left by RequestToExitJob, else left alone."""

    budget: Budget = field(default_factory=Budget)
    leave_refused: bool = True
    max_live: int = 2  # the first instance and one racing it
    max_attempts: int = 6  # of one generation, before the start
    rest_seconds: float = 1800.0  # after these, where no slash point ends the trying
    image_first_seconds: float = 0.0  # wait so long for the image before buying, if it still fits
    attest_retry_seconds: float = 2.0
    visible_seconds: float = 120.0  # EC2 may not list a new instance for so long


@dataclass(frozen=True, slots=True)
class Rules:
    """What `bootstrap` and `running` share."""

    bootstrap: BootstrapRules
    enclave: EnclaveRules
    policy: PolicyRules
    ending: EndingRules


def plan_bootstrap(view: JobView, job: Job, now: float, draft: Draft, rules: Rules) -> None:
    """Ours and not up: bring it up, or say why not."""
    refusals = _refusals(view, now, rules)
    if refusals and not _served_at_a_loss(view, refusals, now, draft, rules):
        _refuse(view, refusals, now, draft, rules)
        return
    if view.missed(now):
        _missed(view, now, draft, rules)
        return
    if not view.slash_point and not view.live and _ends_first(view, job, now, draft, rules):
        return
    if now < view.deadline:
        draft.look_at(view.deadline)
    else:
        text = f"not up by {_by(view)}, when it should have been"
        draft.note("job.past_goal", text, Level.WARNING)
    _drop_doubles(view, draft)
    tell_deaths(view, job, draft)
    _buy(view, job, now, draft, rules)
    if not held_by_change(view, now, draft, rules.policy):
        fetch_image(view, job, _latest_use(view, now), now, draft)
        prepare_hosts(view, view.live, now, draft, rules.enclave)
    _prove_and_report(view, now, draft, rules)


def _latest_use(view: JobView, now: float) -> float:
    """Until when an image is of use: to the slash point; a goal ends nothing."""
    return float(view.deadline) if view.slash_point else max(view.deadline, now + IMAGE_SECONDS)


def _refusals(view: JobView, now: float, rules: Rules) -> Sequence[Refusal]:
    """The job is vetted once, before anything is bought for it; the image when it is known."""
    image = view.image
    if image.phase is ImagePhase.REFUSED:
        return (Refusal("image", image.reason),)
    if view.launch and view.launch.phase is LaunchPhase.REFUSED and not view.live:
        return (Refusal("launch", view.launch.reason),)
    found = vet_image(image.image, view, rules.policy, now) if image.image else ()
    generation = view.head.generation if view.head else 0
    accepted = view.facts.vetted == generation and not changed(view)
    return found if view.live or accepted else (*vet(view, rules.policy), *found)


def _served_at_a_loss(
    view: JobView, refusals: Sequence[Refusal], now: float, draft: Draft, rules: Rules
) -> bool:
    """Whether it is brought up though it is not wanted, since leaving would cost its stake."""
    leaving = exit_now(view, now, rules.bootstrap.budget.usual(Stage.REPORT))
    way = way_out(leaving, refusals)
    if leaving is not None and way is Way.SERVE:
        say_loss(leaving, refusals, draft)
    if leaving is not None and way is Way.PAY:
        say_price(leaving, draft)
    return way is Way.SERVE


def _refuse(
    view: JobView, refusals: Sequence[Refusal], now: float, draft: Draft, rules: Rules
) -> None:
    """Not served: nothing is left running for it, and the job is left if that is wanted."""
    draft.stage = "refused"
    for refusal in refusals:
        draft.note("job.refused", f"{refusal.rule}: {refusal.text}", Level.WARNING)
    give_back(view, view.live, f"not served: {refusals[0].text}", draft)
    if rules.bootstrap.leave_refused:
        leave(view, now, draft, rules.ending, told=view.agreed)


def _by(view: JobView) -> str:
    return datetime.fromtimestamp(view.deadline, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _missed(view: JobView, now: float, draft: Draft, rules: Rules) -> None:
    """By this clock the slash point passed, so nothing more is bought. Only by the chain's own
    time does reportStarted revert: until then what is up is proven and reported all the same."""
    draft.stage = "missed"
    if view.head_block.timestamp < view.deadline:
        draft.look_at(now + rules.bootstrap.attest_retry_seconds)
        _prove_and_report(view, now, draft, rules)
        return
    text = f"not started by {_by(view)}: its stake can be slashed"
    draft.note("job.missed", text, Level.ERROR)
    if rules.bootstrap.leave_refused:
        told = view.agreed and view.told_at >= view.deadline
        leave(view, now, draft, rules.ending, told=told)


def give_back(view: JobView, hosts: Sequence[Host], reason: str, draft: Draft) -> None:
    """Terminate instances that are this agent's own to give up: nobody was promised them."""
    for host in hosts:
        instances = (host.instance.id,)
        draft.do(Terminate(view.id, host.instance.region, instances, reason))


def _drop_doubles(view: JobView, draft: Draft) -> None:
    """One attempt, one instance: the oldest stays, unless a younger one has proven itself."""
    for found in duplicates(host.instance for host in view.live):
        told_double(found, draft)
        ids = {found.stays.id, *(one.id for one in found.go)}
        if not any(host.attested for host in view.live if host.instance.id in ids):
            going = [host for host in view.live if host.instance in found.go]
            give_back(view, going, f"{found.stays.id} is of the same attempt, and older", draft)


def told_double(found: Duplicates, draft: Draft) -> None:
    """A launch happened twice, which nothing here does: tell a person."""
    names = ", ".join(one.id for one in (found.stays, *found.go))
    text = f"attempt {found.identity.attempt} has {1 + len(found.go)} instances: {names}"
    draft.note("job.launched_twice", text, Level.ERROR)


def _buy(view: JobView, job: Job, now: float, draft: Draft, rules: Rules) -> None:
    """One instance, and one more racing it when the first is late; nothing that cannot finish."""
    if _waits_for_image(view, job, now, draft, rules):
        return
    live, budget = view.live, rules.bootstrap.budget
    if any(host.attested for host in live):
        return
    if live and not all_late(view, live, now, draft, budget, rules.enclave):
        return
    if len(live) >= rules.bootstrap.max_live:
        return
    if not view.slash_point:
        _buy_before_end(view, job, now, draft, rules)
        return
    ready = view.image.phase is ImagePhase.READY
    if not budget.fits(now, view.deadline, image_ready=ready, host=HOST_STAGES):
        if not live:
            _cannot_finish(view, now, draft, rules)
        return
    latest = budget.latest_start(view.deadline, image_ready=ready, host=HOST_STAGES)
    draft.look_at(latest)
    launch(view, job, now, draft, rules, Urgency(float(view.deadline), latest))


def _buy_before_end(view: JobView, job: Job, now: float, draft: Draft, rules: Rules) -> None:
    """One more instance, unless the job ends before it could serve; no slash point presses."""
    if not _ends_first(view, job, now, draft, rules):
        latest = latest_useful(view, job, rules.bootstrap.budget.usual(*NEW_INSTANCE))
        launch(view, job, now, draft, rules, Urgency(float(view.deadline), latest))


def _ends_first(view: JobView, job: Job, now: float, draft: Draft, rules: Rules) -> bool:
    """Whether nothing is to be bought or fetched for it: it is over before anything could serve."""
    if now < latest_useful(view, job, rules.bootstrap.budget.usual(*NEW_INSTANCE)):
        return False
    draft.note("job.ends_first", "it ends before a new instance could serve")
    return True


def latest_useful(view: JobView, job: Job, needed: float) -> float:
    """From when on an instance that takes `needed` seconds would serve nothing any more."""
    end = view.terms.ending(job)
    return float("inf") if end is None else end.at - needed


def _waits_for_image(view: JobView, job: Job, now: float, draft: Draft, rules: Rules) -> bool:
    """Limits before the purchase where time allows (rule 7).

    Where nothing is to be waited for, this clock is not asked: it may be behind the chain's.
    """
    wait = rules.bootstrap.image_first_seconds
    until = job.assigned_at + wait
    if not wait or view.image.phase is ImagePhase.READY or view.live or now >= until:
        return False
    budget = rules.bootstrap.budget
    room = view.deadline - until
    if room < 2 * budget.usual(*HOST_STAGES, Stage.ENCLAVE, Stage.ATTEST, Stage.REPORT):
        return False
    draft.look_at(until)
    return True


def launch(
    view: JobView, job: Job, now: float, draft: Draft, rules: Rules, urgency: Urgency
) -> None:
    """The launch that is to be made now, if one is: the same order while its end is unknown.

    Never before EC2 was listed: what is there already would be bought again. Never in a region
    that is not configured, which nobody lists.
    """
    if _elsewhere(view, draft, rules.policy) or held_by_change(view, now, draft, rules.policy):
        return
    if view.observed.listed_at is None:
        draft.look_at(now + rules.bootstrap.attest_retry_seconds)
        return
    known = view.launch if view.launch and view.launch.generation == job.generation else None
    if known is not None and not passed(now, known.at, known.retry_at - known.at):
        draft.look_at(known.retry_at)
        return
    attempt = next_attempt(view, job, now, rules.bootstrap)
    if attempt is None:
        draft.look_at(now + rules.bootstrap.attest_retry_seconds)
        return
    if attempt > rules.bootstrap.max_attempts and not view.up:
        draft.note("job.attempts_spent", f"{attempt - 1} launches failed", Level.ERROR)
        if view.slash_point and not view.live:
            _give_up(view, now, draft, rules)
        if view.slash_point or not _rested(view, job, now, draft, rules.bootstrap):
            return
    elif not _spread(view, job, now, draft, rules, attempt, urgency.latest):
        return
    order = _order(view, job, attempt, urgency)
    if order is not None:
        draft.do(Launch(view.id, order, race=bool(view.live)))


def _elsewhere(view: JobView, draft: Draft, rules: PolicyRules) -> bool:
    kind, regions = view.instance_type, rules.regions
    if not regions or kind is None or kind.region in regions:
        return False
    text = f"{kind.region} is not in aws.regions: nothing is bought there"
    draft.note("job.elsewhere", text, Level.ERROR)
    return True


def _spread(
    view: JobView, job: Job, now: float, draft: Draft, rules: Rules, attempt: int, latest: float
) -> bool:
    """Whether the next attempt is due, where instances of this job died before it came up."""
    if view.up or view.live or not view.slash_point:
        return True
    left = rules.bootstrap.max_attempts + 1 - attempt
    due = next_try_at(view, job, left, rules.bootstrap.budget, latest)
    if now >= due:
        return True
    text = f"instances die: {left} attempts left, the next at {clock_time(due)}"
    draft.note("job.attempts_spread", text, Level.WARNING)
    draft.look_at(due)
    return False


def _give_up(view: JobView, now: float, draft: Draft, rules: Rules) -> None:
    """Nothing of it can come up in time any more: it is left now, not at the slash point."""
    if rules.bootstrap.leave_refused:
        leave(view, now, draft, rules.ending, told=view.agreed)


def _cannot_finish(view: JobView, now: float, draft: Draft, rules: Rules) -> None:
    """Too late for a new instance. Before EC2 was listed one may be coming up all the same, and
    while a report is on its way the job may be started by it: then nothing is left yet."""
    left = int(view.deadline - now)
    draft.note("job.cannot_finish", f"{left} s are left: buying nothing", Level.ERROR)
    if view.observed.listed_at is None or may_become_started(view):
        draft.look_at(now + rules.bootstrap.attest_retry_seconds)
    else:
        _give_up(view, now, draft, rules)


def _rested(view: JobView, job: Job, now: float, draft: Draft, rules: BootstrapRules) -> bool:
    """Where nothing is lost by waiting, a job that keeps failing is tried again now and then."""
    times = [h.instance.launched_at for h in view.hosts if h.generation == job.generation]
    last = max([*times, view.launch.at if view.launch else 0.0], default=0.0)
    draft.look_at(last + rules.rest_seconds)
    return now >= last + rules.rest_seconds


def next_attempt(view: JobView, job: Job, now: float, rules: BootstrapRules) -> int | None:
    """The attempt to launch: from tags and, where it is known better, from what was tried.

    None while a launched instance may only not be listed yet.
    """
    ours = [host for host in view.hosts if host.generation == job.generation]
    listed = max((host.attempt for host in ours), default=0)
    known = view.launch
    if known is None or known.generation != job.generation or known.attempt <= listed:
        return max(listed, view.facts.attempts.get(job.generation, 0)) + 1
    if known.phase is LaunchPhase.LAUNCHED:
        # One empty listing after a restart is no proof: this process has to look for a while too.
        looked = view.observed.looked_seconds >= rules.visible_seconds
        seen = looked and passed(now, known.at, rules.visible_seconds)
        return known.attempt + 1 if seen else None
    return known.attempt + 1 if known.phase is LaunchPhase.SPENT else known.attempt


def _order(view: JobView, job: Job, attempt: int, urgency: Urgency) -> LaunchOrder | None:
    kind = view.instance_type
    if kind is None:
        return None
    account = view.account
    identity = Identity(
        chain_id=account.chain_id,
        contract=account.contract.lower(),
        provider=account.provider.lower(),
        job=job.id,
        generation=job.generation,
        attempt=attempt,
    )
    return LaunchOrder(
        identity,
        Region(kind.region),
        kind.ec2_type,
        urgency.deadline,
        latest=urgency.latest,
        detour=detour(view, job),
    )


def fetch_image(view: JobView, job: Job, deadline: float, now: float, draft: Draft) -> None:
    """Have the image, from the network or from disk; again when it was unavailable."""
    image = view.image
    failed = image.phase is ImagePhase.FAILED
    missing = image.phase in (ImagePhase.UNKNOWN, ImagePhase.RELEASED)
    if missing or (failed and passed(now, image.since, image.retry_at - image.since)):
        draft.do(FetchImage(view.id, job.enclave_url, deadline))
    elif failed:
        draft.look_at(image.retry_at)


def _prove_and_report(view: JobView, now: float, draft: Draft, rules: Rules) -> None:
    """The first enclave that proves itself is reported; nothing is, that did not."""
    proven = [host for host in view.live if host.attested and host.instance.public_ip]
    if proven:
        _report(view, proven[0], now, draft, rules)
        return
    for host in view.live:
        question = question_for(view, host, rules.enclave)
        attest_when_due(question, host, now, rules.bootstrap.attest_retry_seconds, draft)


def _report(view: JobView, host: Host, now: float, draft: Draft, rules: Rules) -> None:
    draft.stage = "reporting"
    key = next_key(view, Call.REPORT_STARTED.value, now, rules.ending)
    if key is None or not may_send(view, key, now, draft, rules.ending):
        return
    order = Order(
        key=key,
        call=Call.REPORT_STARTED,
        job=view.id,
        endpoint=f"{host.instance.public_ip}:{rules.enclave.public_port}",
        deadline=float(view.deadline),
        as_of=view.as_of,
        disputed=view.disputed,
    )
    draft.do(ReportStarted(view.id, order))
