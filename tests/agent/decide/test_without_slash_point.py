"""A market without stake, starts, exits: goals order the work, nothing is given up for them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from agent.decide.job_view import (
    Facts,
    FinalView,
    Host,
    ImagePhase,
    ImageView,
    JobView,
    Observed,
    Probe,
    TxPhase,
    TxView,
    WitnessPhase,
)
from agent.decide.keepalive import run_id
from agent.decide.lifecycle import LifecycleRules, needs_final, plan
from agent.decide.plan import (
    Attest,
    FetchImage,
    Finish,
    Launch,
    Plan,
    ReleaseImage,
    ReportStarted,
    RequestExit,
    Settle,
    Terminate,
    WriteDesired,
)
from agent.decide.refusal import PolicyRules
from agent.market.model import Job, JobId, JobStatus, Notice, Price, StopReason, Wei
from agent.market.workload import Workload
from agent.markets.marketv1.terms import MarketV1Terms
from cloud.model import InstanceState
from enclave.host.documents import Status
from tests.agent.samples import ACCOUNT, BLOCK, HOME, IMAGE, INSTANCE, JOB, NOW, ROOM

pytestmark = pytest.mark.unit

WORK = Workload("ipfs://x", 4096, 2)
RUN = run_id(1, 1, 0, WORK)
RULES = LifecycleRules(policy=PolicyRules(min_escrow_seconds=0))
OPENED = replace(
    JOB, id=JobId(0), assigned_at=NOW - 10, started_at=NOW - 10, settled_until=NOW - 10,
    escrow=Wei(10_000), status=JobStatus.RUNNING, workload=WORK,
)  # fmt: skip


def host(*, proven: bool = False, run: str = RUN, launched_at: float = NOW - 9.0) -> Host:
    probe = Probe(asked_at=NOW, passed_at=NOW, passed_run=run) if proven else Probe()
    instance = replace(INSTANCE, launched_at=launched_at)
    return Host(instance, _running(run), NOW, probe, desired_run=run)


def _running(run: str) -> Status:
    phases = {"booted": NOW - 8.0, "running": NOW - 5.0}
    return Status("running", run, NOW, "p", "i-1", phases, image_sha256=IMAGE.sha256)


def view(*hosts: Host, job: Any = OPENED, now: float = NOW, **more: Any) -> JobView:
    defaults: dict[str, Any] = {
        "id": OPENED.id, "account": ACCOUNT, "terms": MarketV1Terms(), "head": job, "hosts": hosts,
        "head_block": replace(BLOCK, timestamp=int(now)),
        "observed": Observed(now, now, NOW - 500, 500.0),
        "image": ImageView(ImagePhase.READY, NOW, IMAGE, staged={HOME: NOW}), "room": ROOM,
    }  # fmt: skip
    return JobView(**{**defaults, **more})


def final(job: Any, now: float) -> FinalView:
    block = replace(BLOCK, timestamp=int(now))
    return FinalView(block, job, WitnessPhase.SPOKE, job)


def kinds(decided: Plan) -> set[type]:
    return {type(action) for action in decided.actions}


def notes(decided: Plan) -> set[str]:
    return {note.name for note in decided.notes}


def only(decided: Plan, kind: type) -> Any:
    (found,) = [action for action in decided.actions if isinstance(action, kind)]
    return found


@pytest.mark.parametrize("after", [0, 179, 180, 181, 5000])
def test_goal__passed_or_not__an_instance_is_bought_all_the_same(after: int) -> None:
    now = OPENED.assigned_at + after
    decided = plan(view(now=now, image=ImageView()), now, RULES)
    assert kinds(decided) == {Launch, FetchImage}
    assert only(decided, FetchImage).deadline > now
    assert ("job.past_goal" in notes(decided)) == (after >= 180)
    assert decided.stage == "bootstrapping"
    assert decided.deadline == OPENED.assigned_at + 180


def test_goal__passed__is_told_by_a_time_that_people_read() -> None:
    now = OPENED.assigned_at + 200
    (note,) = (one for one in plan(view(now=now), now, RULES).notes if one.name == "job.past_goal")
    assert re.fullmatch(r"not up by \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, .*", note.text)


def test_goal__job_ends_before_anything_could_serve__nothing_is_bought() -> None:
    short = replace(OPENED, escrow=Wei(20))
    decided = plan(view(job=short, image=ImageView()), NOW, RULES)
    assert decided.actions == ()
    assert "job.ends_first" in notes(decided)


def test_goal__passed__no_host_is_taken_down_and_none_needs_the_final_block() -> None:
    now = NOW + 900.0
    coming = replace(host(), status=None)
    seen = view(coming, now=now)
    assert not needs_final(seen, now)
    assert not kinds(plan(seen, now, RULES)) & {Terminate, RequestExit}


def test_start__enclave_proved_itself__runs_and_nothing_is_reported() -> None:
    decided = plan(view(host(proven=True)), NOW, RULES)
    assert decided.stage == "running"
    assert not kinds(decided) & {ReportStarted, Launch}
    assert decided.deadline is None


def test_start__not_proven_yet__is_asked() -> None:
    young = host(launched_at=NOW - 9.0)
    seen = view(young, observed=Observed(NOW, NOW, NOW - 500, 500.0))
    decided = plan(seen, NOW, RULES)
    assert (decided.stage, Attest in kinds(decided)) == ("bootstrapping", True)


@pytest.mark.parametrize("remembered", [True, False])
def test_restart__of_the_agent_beside_a_running_enclave__buys_no_second(remembered: bool) -> None:
    old = host(launched_at=NOW - 5000.0)
    facts = Facts(proven=1) if remembered else Facts()
    seen = view(old, observed=Observed(NOW, NOW, NOW - 1.0), facts=facts)
    decided = plan(seen, NOW, RULES)
    assert decided.stage == "running"
    assert Launch not in kinds(decided)


def test_orders__of_a_host__are_what_the_user_asked_for() -> None:
    booted = replace(host(), desired_run=None, status=None, written_at=None)
    desired = only(plan(view(booted), NOW, RULES), WriteDesired).desired
    assert (desired.memory_mib, desired.cpu_count, desired.run_id) == (4096, 2, RUN)


def test_debug__of_a_job_that_asks_for_it__is_ordered_with_its_console_and_asked_for() -> None:
    rules = replace(RULES, policy=PolicyRules(min_escrow_seconds=0, debug=True))
    work = replace(WORK, debug=True)
    job = replace(OPENED, workload=work)
    booted = replace(host(), desired_run=None, status=None, written_at=None)
    desired = only(plan(view(booted, job=job), NOW, rules), WriteDesired).desired
    assert (desired.debug, desired.console) == (True, True)
    running = host(run=run_id(1, 1, 0, work), launched_at=NOW - 9.0)
    asked = only(plan(view(running, job=job), NOW, rules), Attest)
    assert asked.debug
    plain = only(plan(view(host()), NOW, rules), Attest)
    assert not plain.debug
    none = only(plan(view(booted), NOW, rules), WriteDesired).desired
    assert (none.debug, none.console) == (False, False)


def test_change__of_the_url__is_another_run_of_the_same_host() -> None:
    changed = replace(OPENED, enclave_url="ipfs://y", workload=replace(WORK, url="ipfs://y"))
    other = replace(IMAGE, url="ipfs://y", cid="y", sha256="c" * 64)
    image = ImageView(ImagePhase.READY, NOW, other, staged={HOME: NOW})
    seen = view(host(proven=True), job=changed, image=image, facts=Facts(proven=1))
    decided = plan(seen, NOW, RULES)
    desired = only(decided, WriteDesired).desired
    assert desired.image_sha256 == other.sha256
    assert desired.run_id == run_id(1, 1, 1, changed.workload)
    assert not kinds(decided) & {Launch, Terminate, Attest}


def test_change__image_is_not_here_yet__what_runs_runs_on_unasked() -> None:
    changed = replace(OPENED, enclave_url="ipfs://y", workload=replace(WORK, url="ipfs://y"))
    seen = view(host(), job=changed, image=ImageView(), facts=Facts(proven=1))
    decided = plan(seen, NOW, RULES)
    assert kinds(decided) == {FetchImage}


@pytest.mark.parametrize(
    "workload",
    [replace(WORK, memory_mib=2048), replace(WORK, cpu_count=1), replace(WORK, family="salmon")],
)
def test_change__of_what_no_host_can_change__is_refused_and_said_loudly(workload: Workload) -> None:
    changed = replace(OPENED, workload=workload)
    decided = plan(view(host(), job=changed, facts=Facts(proven=1)), NOW, RULES)
    assert "job.change_refused" in notes(decided)
    assert not kinds(decided) & {WriteDesired, Launch, Terminate}


def test_change__of_the_type__is_refused_though_the_size_is_the_same() -> None:
    changed = replace(OPENED, instance_type="us-east-1/c6a.2xlarge")
    decided = plan(view(host(proven=True), job=changed), NOW, RULES)
    assert "job.change_refused" in notes(decided)
    assert not kinds(decided) & {WriteDesired, Launch, Terminate}


def test_dry__is_settled_and_taken_down_once_final() -> None:
    dry = replace(OPENED, escrow=Wei(5))
    now = OPENED.settled_until + 6.0
    seen = view(host(proven=True), job=dry, now=now, final=final(dry, now))
    decided = plan(seen, now, RULES)
    assert decided.stage == "over"
    assert kinds(decided) == {Settle, Terminate}
    assert only(decided, Terminate).reason == "the escrow ran dry"


def test_dry__settled_but_open_for_ever__sends_nothing_more_and_is_let_go() -> None:
    settled = replace(OPENED, escrow=Wei(0), settled_until=NOW - 3)
    assert kinds(plan(view(job=settled), NOW, RULES)) == {ReleaseImage}
    released = view(job=settled, image=ImageView(ImagePhase.RELEASED))
    finish = only(plan(released, NOW, RULES), Finish)
    assert finish.outcome == "escrow_exhausted"


def test_dry__then_a_deposit__is_served_again() -> None:
    revived = replace(OPENED, escrow=Wei(5000), settled_until=NOW - 3)
    assert Launch in kinds(plan(view(job=revived), NOW, RULES))


def test_notice__of_the_end__is_served_to_its_unlock_and_no_longer() -> None:
    noticed = replace(OPENED, notice=Notice(Price(0), NOW + 300))
    before = plan(view(host(proven=True), job=noticed), NOW + 299.0, RULES)
    assert before.stage == "running"
    assert before.next_look_at is not None
    assert before.next_look_at <= NOW + 300
    now = NOW + 300.0
    seen = view(host(proven=True), job=noticed, now=now, final=final(noticed, now))
    after = plan(seen, now, RULES)
    assert kinds(after) == {Settle, Terminate}
    assert only(after, Terminate).reason == "its rate fell below the least"


FINALITY = 60.0  # seconds that the final block is behind the head


@pytest.mark.parametrize("before_dry", [0, 1, 300])
@pytest.mark.parametrize("rate", [1, 10**12, 7 * 10**12, 2**128])
@pytest.mark.parametrize("how", ["dry", "notice", "both"])
def test_stop__whatever_ends_it__is_ordered_in_the_second_after_the_last_that_is_paid(
    before_dry: int, rate: int, how: str
) -> None:
    """The bound on unpaid service: nothing but the order's own way, where the state is final."""
    paid = 3600 * rate // 10**12 + (rate == 1)
    seconds = paid * 10**12 // rate
    unlock = OPENED.settled_until + (seconds // 2 if how == "both" else 400)
    notice = Notice(Price(0), unlock) if how != "dry" else None
    job = replace(OPENED, price=Price(rate), escrow=Wei(paid), notice=notice)
    dry = OPENED.settled_until + seconds - before_dry
    end = dry if notice is None else min(dry, unlock)
    terms = MarketV1Terms(stop_before_dry=before_dry)

    def decided(now: float) -> Plan:
        seen = view(host(proven=True), job=job, now=now, final=final(job, now - FINALITY))
        return plan(replace(seen, terms=terms), now, RULES)

    before = decided(end - 1.0)
    assert before.stage == "running"
    assert Terminate not in kinds(before)
    assert before.next_look_at is not None
    assert before.next_look_at <= end
    assert Terminate in kinds(decided(float(end)))


@pytest.mark.parametrize("head_behind", [0, 5, 59])
def test_stop__by_a_head_that_stands__waits_for_the_chains_time(head_behind: int) -> None:
    dry = replace(OPENED, escrow=Wei(100))
    now = OPENED.settled_until + 100.0
    seen = view(host(proven=True), job=dry, now=now, final=final(dry, now - FINALITY))
    seen = replace(seen, head_block=replace(BLOCK, timestamp=int(now) - head_behind))
    assert (Terminate in kinds(plan(seen, now, RULES))) == (head_behind == 0)


def test_stop__by_a_head_of_the_future__goes_by_this_clock() -> None:
    dry = replace(OPENED, escrow=Wei(100))
    now = OPENED.settled_until + 90.0
    seen = view(host(proven=True), job=dry, now=now, final=final(dry, now - FINALITY))
    seen = replace(seen, head_block=replace(BLOCK, timestamp=int(now) + 59))
    assert Terminate not in kinds(plan(seen, now, RULES))


def test_stop__a_notice_that_is_not_final__waits() -> None:
    noticed = replace(OPENED, notice=Notice(Price(0), NOW + 300))
    now = NOW + 300.0
    seen = view(host(proven=True), job=noticed, now=now, final=final(OPENED, now - FINALITY))
    assert Terminate not in kinds(plan(seen, now, RULES))


@pytest.mark.parametrize("head_behind", [0, 40])
def test_stop__a_notice_taken_back_since_the_final_block__ends_no_job_that_may_be_paid_on(
    head_behind: int,
) -> None:
    """Dry by this clock; a node that lags may hide a deposit, which its newest block would show."""
    now = OPENED.settled_until + 100.0
    dry = replace(OPENED, escrow=Wei(100))
    noticed = replace(dry, notice=Notice(Price(0), int(now) - 50))
    seen = view(host(proven=True), job=dry, now=now, final=final(noticed, now - FINALITY))
    seen = replace(seen, head_block=replace(BLOCK, timestamp=int(now) - head_behind))
    assert (Terminate in kinds(plan(seen, now, RULES))) == (head_behind == 0)


@pytest.mark.parametrize("price", [0, OPENED.price.raw - 1])
def test_rate__lowered_while_nobody_looked__is_taken_down_and_nothing_is_bought(price: int) -> None:
    """Finalized, and no notice stands any more: all that tells is what it was taken for."""
    lowered = replace(OPENED, price=Price(price), agreed=OPENED.price, settled_until=NOW - 5)
    seen = view(host(proven=True), job=lowered, final=final(lowered, NOW - FINALITY))
    decided = plan(seen, NOW, RULES)
    assert kinds(decided) == {Terminate}
    assert only(decided, Terminate).reason == "its rate fell below the least"
    assert not kinds(plan(view(job=lowered, image=ImageView()), NOW, RULES)) & {Launch, FetchImage}


def test_keyless__of_a_dry_job__is_taken_down_and_finished_with_nothing_sent() -> None:
    rules = replace(RULES, ending=replace(RULES.ending, signs=False, settle_every_seconds=1))
    dry = replace(OPENED, escrow=Wei(5))
    now = OPENED.settled_until + 6.0
    seen = view(host(proven=True), job=dry, now=now, final=final(dry, now))
    assert kinds(plan(seen, now, rules)) == {Terminate}
    gone = view(job=dry, now=now, image=ImageView(ImagePhase.RELEASED))
    assert kinds(plan(gone, now, rules)) == {Finish}
    assert Settle not in kinds(plan(view(host(proven=True)), NOW, rules))


def test_closed__by_its_owner__is_taken_down_and_nothing_is_sent() -> None:
    closed = replace(
        OPENED, status=JobStatus.STOPPED, stop_reason=StopReason.USER_REQUEST, stopped_at=NOW
    )
    seen = view(host(proven=True), job=closed, final=final(closed, NOW))
    assert kinds(plan(seen, NOW, RULES)) == {Terminate}


def test_exit__ordered_where_there_is_none__sends_nothing() -> None:
    seen = view(host(proven=True), facts=Facts(exit_ordered=True))
    assert RequestExit not in kinds(plan(seen, NOW, RULES))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"unreadable": "no JSON", "workload": None, "instance_type": ""}, "metadata"),
        ({"workload": replace(WORK, memory_mib=999_999)}, "memory"),
        ({"workload": replace(WORK, memory_mib=7)}, "memory"),
        ({"workload": replace(WORK, cpu_count=64)}, "cpu"),
        ({"workload": replace(WORK, cpu_count=1)}, "cpu"),
        ({"workload": replace(WORK, family="salmon")}, "family"),
        ({"workload": replace(WORK, debug=True)}, "debug"),
        ({"workload": replace(WORK, init_params=bytes((1 << 20) + 1))}, "init_params"),
    ],
)
def test_refused__for_what_the_metadata_says__costs_nothing_and_waits_for_no_exit(
    changes: dict[str, Any], rule: str
) -> None:
    for agreed in (True, False):  # by two endpoints, or by one
        seen = view(job=replace(OPENED, **changes), image=ImageView(), agreed=agreed)
        decided = plan(seen, NOW, RULES)
        assert (decided.stage, decided.actions) == ("refused", ())
        assert [(note.name, note.text.partition(":")[0]) for note in decided.notes] == [
            ("job.refused", rule)
        ]


def test_attempts__all_spent__rests_and_tries_again() -> None:
    tried = Facts(attempts={1: 6})
    now = NOW + 2000.0
    job = replace(OPENED, escrow=Wei(10**6))
    first = plan(view(job=job, now=now, facts=tried), now, RULES)
    assert "job.attempts_spent" in notes(first)
    assert Launch in kinds(first)


@pytest.mark.parametrize("closed", ["paused", "leaving"])
def test_closed__new_jobs_are_refused_and_those_that_run_run_on(closed: str) -> None:
    facts = Facts(closed=closed)
    decided = plan(view(facts=facts, image=ImageView()), NOW, RULES)
    assert (decided.stage, decided.actions) == ("refused", ())
    running = plan(view(host(proven=True), facts=facts), NOW, RULES)
    assert running.stage == "running"
    assert not kinds(running) & {Terminate}


@pytest.mark.parametrize("before", ["unsettled", "paid", "unknown", "dry once before"])
@pytest.mark.parametrize("sent", [True, False])
def test_settlement__that_a_fork_may_take_back__keeps_the_job(before: str, sent: bool) -> None:
    """Whoever sent it: the agent before, the user whose call settled first, or anybody."""
    dry = replace(OPENED, escrow=Wei(0), settled_until=NOW + 5)
    now = NOW + 10.0
    key = f"{OPENED.id}:1:settle:{NOW}:0"
    mined = {key: TxView(TxPhase.MINED, NOW, block=BLOCK.number + 1)} if sent else {}
    known = {"transactions": mined, "facts": Facts(proven=1)}
    waiting = view(job=dry, now=now, image=ImageView(ImagePhase.RELEASED, NOW), **known)
    assert needs_final(waiting, now)
    assert Finish not in kinds(plan(waiting, now, RULES))
    older: Job | None = {
        "unsettled": replace(OPENED, escrow=Wei(5)), "paid": OPENED, "unknown": None,
        "dry once before": replace(dry, settled_until=NOW - 5),  # and paid for anew since
    }[before]  # fmt: skip
    at = replace(BLOCK, timestamp=NOW)
    for witnessed in (older, dry):
        early = FinalView(at, older, WitnessPhase.SPOKE, witnessed)
        assert Finish not in kinds(plan(replace(waiting, final=early), now, RULES))
        liar = FinalView(at, dry, WitnessPhase.SPOKE, older)
        assert Finish not in kinds(plan(replace(waiting, final=liar), now, RULES))
    sure = FinalView(at, dry, WitnessPhase.SPOKE, dry)
    assert Finish in kinds(plan(replace(waiting, final=sure), now, RULES))
    alone = FinalView(at, dry, WitnessPhase.ABSENT)
    assert Finish in kinds(plan(replace(waiting, final=alone), now, RULES))


def test_deposit__that_a_fork_moved_behind_the_end__revives_a_job_that_is_settled_in_the_end() -> (
    None
):
    """It was up here, whatever is left for another instance: it is no new job, refused as poor."""
    rules = replace(RULES, policy=PolicyRules(min_escrow_seconds=600))
    revived = replace(OPENED, escrow=Wei(342), settled_until=NOW - 300)
    again = plan(view(job=revived, facts=Facts(proven=1)), NOW, rules)
    assert "job.refused" not in notes(again)
    now = NOW + 100.0
    over = plan(view(job=revived, now=now, facts=Facts(proven=1)), now, rules)
    assert Settle in kinds(over)


def test_job__that_never_came_up__is_not_settled_though_its_dead_host_is_listed() -> None:
    dry = replace(OPENED, escrow=Wei(5), settled_until=NOW - 10)
    dead = replace(host(), instance=replace(INSTANCE, state=InstanceState.TERMINATED), status=None)
    decided = plan(view(dead, job=dry, now=NOW + 10.0), NOW + 10.0, RULES)
    assert Settle not in kinds(decided)
    served = view(dead, job=dry, now=NOW + 10.0, facts=Facts(proven=1))
    assert Settle in kinds(plan(served, NOW + 10.0, RULES))


@pytest.mark.parametrize("head", [None, replace(OPENED, status=JobStatus.STOPPED, escrow=Wei(0))])
def test_job__gone_by_one_endpoints_word__is_kept_until_two_say_so(head: Job | None) -> None:
    """It was served, and may not be settled."""
    here: dict[str, Any] = {"facts": Facts(proven=1), "image": ImageView(ImagePhase.RELEASED, NOW)}
    asked = view(job=head, now=NOW, **here)
    assert needs_final(asked, NOW)
    told = FinalView(BLOCK, head, WitnessPhase.SPOKE, OPENED)
    for final in (None, told, replace(told, witness=WitnessPhase.DIFFERS)):
        assert Finish not in kinds(plan(replace(asked, final=final), NOW, RULES))
    sure = replace(told, witnessed=head)
    assert Finish in kinds(plan(replace(asked, final=sure), NOW, RULES))
    alone = replace(told, witness=WitnessPhase.ABSENT, witnessed=None)
    assert Finish in kinds(plan(replace(asked, final=alone), NOW, RULES))
