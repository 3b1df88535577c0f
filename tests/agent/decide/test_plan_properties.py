"""What `lifecycle.plan` never does, whatever the view: hypothesis looks for a counterexample."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.decide.deadline import HOST_STAGES
from agent.decide.job_view import (
    Facts,
    FinalView,
    Host,
    ImagePhase,
    ImageView,
    JobView,
    LaunchPhase,
    LaunchView,
    Observed,
    Probe,
    WitnessPhase,
)
from agent.decide.keepalive import run_id
from agent.decide.lifecycle import plan
from agent.decide.plan import Attest, Launch, ReportStarted, Terminate
from agent.market.model import BlockNumber, BlockRef, Job, JobStatus, StopReason, Wei
from cloud.model import Instance, InstanceId, InstanceState
from enclave.host.documents import Status
from tests.agent.samples import (
    ACCOUNT,
    BLOCK,
    HOME,
    IMAGE,
    INSTANCE,
    JOB,
    NOW,
    OTHER,
    ROOM,
    RULES,
    TERMS,
    US,
)

pytestmark = pytest.mark.unit

# Mostly what happens: a draw over everything alike hardly ever has a host that can be reported.
seconds = st.integers(NOW - 550, NOW) | st.integers(NOW - 5000, NOW + 50)
generations = st.sampled_from([1, 1, 1, 1, 2, 3])
states = st.sampled_from([InstanceState.RUNNING] * 6 + list(InstanceState))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Any job the contract can show, around the present."""
    assigned = draw(seconds)
    started = draw(st.sampled_from([0, assigned + 30]))
    exiting = draw(st.sampled_from([0, assigned + 60]))
    stopped = draw(st.sampled_from([False, False, False, True]))
    status = JobStatus.STOPPED if stopped else JobStatus.EXITING if exiting else JobStatus.RUNNING
    if not stopped and not exiting and not started:
        status = JobStatus.BOOTSTRAPPING
    return replace(
        JOB,
        provider=draw(st.sampled_from([US, US, US, OTHER])),
        generation=draw(generations),
        status=status,
        stop_reason=StopReason.USER_REQUEST if stopped else StopReason.NONE,
        assigned_at=assigned,
        started_at=started,
        exit_requested_at=exiting,
        stopped_at=assigned + 90 if stopped else 0,
        escrow=Wei(0 if stopped else draw(st.integers(0, 10_000))),
    )


@st.composite
def hosts(draw: st.DrawFn, number: int) -> Host:
    generation, attempt = draw(generations), draw(st.sampled_from([1, 1, 1, 2, 3]))
    launched = float(draw(seconds))
    run = run_id(generation, attempt, draw(st.integers(0, 2)))
    phase = draw(st.sampled_from(["booted", "starting", "running", "failed"]))
    status = Status(phase, run, launched, "p", f"i-{number}", {phase: launched + 30})
    failures = draw(st.integers(0, 5))
    passed = draw(st.sampled_from([None, run, "g9a9r9"]))
    return Host(
        instance=replace(
            INSTANCE,
            id=InstanceId(f"i-{number}"),
            state=draw(states),
            identity=replace(INSTANCE.identity, generation=generation, attempt=attempt),
            launched_at=launched,
            public_ip=draw(st.sampled_from(["10.0.0.1", "10.0.0.1", None])),
        ),
        status=draw(st.sampled_from([None, status])),
        written_at=launched + 30,
        probe=Probe(asked_at=draw(st.sampled_from([None, NOW - 100.0])), passed_run=passed,
                    failures=failures),
        desired_run=draw(st.sampled_from([None, run])),
    )  # fmt: skip


@st.composite
def launches(draw: st.DrawFn) -> LaunchView:
    return LaunchView(
        generation=draw(generations),
        attempt=draw(st.integers(1, 3)),
        phase=draw(st.sampled_from(list(LaunchPhase))),
        at=float(draw(seconds)),
    )


def _perhaps(there: bool) -> st.SearchStrategy[Job | None]:
    return jobs() if there else st.none()


@st.composite
def views(draw: st.DrawFn) -> JobView:
    final = FinalView(
        BlockRef(BlockNumber(90), "0x90", draw(seconds)),
        draw(st.none() | jobs()),
        draw(st.sampled_from(list(WitnessPhase))),
        draw(st.none() | jobs()),
    )
    ready = ImageView(ImagePhase.READY, NOW - 50.0, IMAGE, staged={HOME: NOW})
    return JobView(
        id=JOB.id,
        account=ACCOUNT,
        terms=TERMS,
        head_block=BLOCK,
        head=draw(st.sampled_from([True, True, True, False]).flatmap(_perhaps)),
        final=draw(st.none() | st.just(final)),
        hosts=tuple(draw(hosts(number)) for number in range(draw(st.integers(0, 3)))),
        observed=draw(st.sampled_from([Observed(), Observed(NOW - 1.0, NOW - 1.0)])),
        image=draw(st.sampled_from([ImageView(), ready])),
        launch=draw(st.none() | launches()),
        room=ROOM,
        facts=Facts(exit_ordered=draw(st.booleans())),
        doubt=draw(st.booleans()),
    )


A = TypeVar("A")


def found(view: JobView, kind: type[A]) -> list[A]:
    """The plan's actions of one kind."""
    return [action for action in plan(view, NOW, RULES).actions if isinstance(action, kind)]


def _wanted(host: Instance) -> JobView:
    """A job of ours that bootstraps, its image at hand, and one instance it has had."""
    return JobView(
        id=JOB.id, account=ACCOUNT, terms=TERMS, head_block=BLOCK, head=JOB, hosts=(Host(host),),
        observed=Observed(NOW - 1.0, NOW - 1.0), room=ROOM,
        image=ImageView(ImagePhase.READY, NOW - 9.0, IMAGE, staged={HOME: NOW}),
    )  # fmt: skip


def ended_once() -> JobView:
    """The first attempt is gone and another is called for: few drawn views do that."""
    return _wanted(replace(INSTANCE, state=InstanceState.TERMINATED, public_ip=None))


def unproven() -> JobView:
    """A host has an address, in time, and has proved nothing yet."""
    return _wanted(INSTANCE)


@settings(max_examples=600, deadline=None)
@example(ended_once())
@given(views())
def test_plan__any_view__launches_at_most_once_and_never_what_is_there(view: JobView) -> None:
    bought = [action.order for action in found(view, Launch)]
    assert len(bought) <= 1
    for order in bought:
        assert view.ours
        assert view.head is not None
        assert view.observed.listed_at is not None
        assert order.identity.generation == view.head.generation
        ours = [h for h in view.hosts if h.generation == view.head.generation]
        assert order.identity.attempt not in {host.attempt for host in ours}
        assert len(view.live) < RULES.bootstrap.max_live


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__any_view__buys_nothing_that_cannot_finish(view: JobView) -> None:
    for _action in found(view, Launch):
        if view.head is not None:
            assert not TERMS.is_over(view.head, NOW)
            ready = view.image.phase is ImagePhase.READY
            fits = RULES.bootstrap.budget.fits(
                NOW, view.deadline, image_ready=ready, host=HOST_STAGES
            )
            assert fits or view.head.is_started


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__any_view__terminates_for_the_chain_only_what_is_final(view: JobView) -> None:
    for action in found(view, Terminate):
        if not action.by_chain:
            continue
        final = view.final
        assert final is not None
        for name in action.instances:
            host = next(host for host in view.hosts if host.instance.id == name)
            assert not _needed(final.job, final.block, host)
            if final.witness is WitnessPhase.SPOKE and not view.facts.exit_ordered:
                assert not _needed(final.witnessed, final.block, host)


def _needed(job: Job | None, block: BlockRef, host: Host) -> bool:
    """Whether a job, as of a block, is one this host serves or may yet serve."""
    if job is None or job.provider != US or job.generation != host.generation:
        return False
    missed = not job.is_started and block.timestamp >= job.assigned_at + TERMS.job_bootstrapping
    return not TERMS.is_over(job, block.timestamp) and not missed


@settings(max_examples=150, deadline=None)
@example(unproven())
@given(views())
def test_plan__any_view__reports_only_what_proved_itself_in_time(view: JobView) -> None:
    for action in found(view, ReportStarted):
        assert view.deadline > NOW
        assert view.ours
        addresses = {f"{h.instance.public_ip}:1300" for h in view.live if h.attested}
        assert action.order.endpoint in addresses


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__any_view__never_terminates_the_last_enclave_that_answers(view: JobView) -> None:
    """Of a started job that is ours: nothing but the chain ends an enclave that proves itself."""
    own = [action for action in found(view, Terminate) if not action.by_chain]
    head = view.head
    if head is None or not view.ours or not head.is_started or TERMS.is_over(head, NOW):
        return
    well = {h.instance.id for h in view.live if h.attested and h.probe.failures == 0}
    ended = {name for action in own for name in action.instances}
    assert not well or well - ended


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__the_same_view__gives_the_same_plan(view: JobView) -> None:
    assert plan(view, NOW, RULES) == plan(view, NOW, RULES)


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__any_view__asks_no_enclave_without_an_address(view: JobView) -> None:
    for action in found(view, Attest):
        assert action.instance.public_ip is not None


@settings(max_examples=150, deadline=None)
@given(views())
def test_plan__anything_left_to_do__is_done_or_looked_at_again(view: JobView) -> None:
    """Converges: no view that still has something live, or is ours, is forgotten."""
    decision = plan(view, NOW, RULES)
    unfinished = view.ours or any(host.live for host in view.hosts)
    if unfinished:
        assert decision.actions or decision.next_look_at is not None
