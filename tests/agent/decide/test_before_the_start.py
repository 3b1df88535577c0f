"""What is decided before a job is reported started: images out of date, doubled launches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.apply.image_store import StoredImages
from agent.decide.job_view import (
    Host,
    ImagePhase,
    ImageView,
    JobView,
    LaunchPhase,
    LaunchView,
    Observed,
    Probe,
    TxPhase,
    TxView,
)
from agent.decide.lifecycle import plan
from agent.decide.plan import Launch, Plan, RequestExit, Terminate
from agent.market.model import JobStatus
from cloud.model import InstanceId, InstanceState
from enclave.eif.signature import Signer
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import ImageFetcher
from enclave.fetch.store import ImageStore
from tests.agent.samples import ACCOUNT, BLOCK, HOME, IMAGE, INSTANCE, JOB, NOW, ROOM, RULES, TERMS
from tests.clocks import StandingClock
from tests.enclave.fetch.test_store import CIDS, SIGNER, keep

pytestmark = pytest.mark.unit


def _host(number: int, launched_at: float, *, attempt: int = 1, proven: bool = False) -> Host:
    identity = replace(INSTANCE.identity, attempt=attempt)
    name = InstanceId(f"i-{number}")
    instance = replace(INSTANCE, id=name, identity=identity, launched_at=launched_at)
    run = f"g1a{attempt}r0"
    probe = Probe(asked_at=NOW, passed_at=NOW, passed_run=run) if proven else Probe()
    return Host(instance, probe=probe, desired_run=run)


def _view(*hosts: Host, signer: Signer | None = None, started_at: int = 0) -> JobView:
    status = JobStatus.RUNNING if started_at else JobStatus.BOOTSTRAPPING
    image = replace(IMAGE, signer=signer)
    return JobView(
        id=JOB.id,
        account=ACCOUNT,
        terms=TERMS,
        head_block=BLOCK,
        head=replace(JOB, started_at=started_at, status=status),
        hosts=hosts,
        observed=Observed(NOW, NOW),
        image=ImageView(ImagePhase.READY, NOW, image, staged={HOME: NOW}),
        room=ROOM,
    )


def _ended(decided: Plan) -> set[str]:
    return {
        name
        for action in decided.actions
        if isinstance(action, Terminate)
        for name in action.instances
    }


def _noted(decided: Plan) -> set[str]:
    return {note.name for note in decided.notes}


@pytest.mark.parametrize("dates", [(NOW - 50, NOW - 1), (NOW + 1, NOW + 50)])
def test_signer__out_of_date__nothing_is_bought(dates: tuple[float, float]) -> None:
    signer = Signer("CN=builder", "secp384r1", "11" * 32, *dates)
    decided = plan(_view(signer=signer), NOW, RULES)
    assert "job.refused" in _noted(decided)
    assert not [action for action in decided.actions if isinstance(action, Launch)]
    bought = plan(_view(_host(1, NOW - 5), signer=signer), NOW, RULES)
    assert _ended(bought) == {"i-1"}  # it could never start


def test_signer__in_date_or_none__is_served() -> None:
    for signer in (None, Signer("CN=builder", "secp384r1", "11" * 32, NOW - 1, NOW + 1)):
        decided = plan(_view(signer=signer), NOW, RULES)
        assert [action for action in decided.actions if isinstance(action, Launch)]


@pytest.mark.parametrize("started_at", [0, NOW - 5])
def test_signer__runs_out_while_the_enclave_runs__changes_nothing(started_at: int) -> None:
    signer = Signer("CN=builder", "secp384r1", "11" * 32, NOW - 50, NOW - 1)
    decided = plan(
        _view(_host(1, NOW - 9, proven=True), signer=signer, started_at=started_at), NOW, RULES
    )
    assert _ended(decided) == set()
    assert "job.refused" not in _noted(decided)


async def test_signer__of_a_stored_image__reaches_the_agent(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, quota_bytes=1000)
    keep(store, CIDS[0])
    fetcher = ImageFetcher(store, Reach([]), FetchLimits())
    images = StoredImages(fetcher, StandingClock(NOW))
    image = await images.fetch(f"ipfs://{CIDS[0]}", job=1, deadline=NOW + 60)
    await fetcher.close()
    assert image.signer == SIGNER


def test_doubles__two_of_one_attempt__oldest_stays_and_a_person_is_told() -> None:
    old, young = _host(2, NOW - 9), _host(1, NOW - 5)
    decided = plan(_view(old, young), NOW, RULES)
    assert _ended(decided) == {"i-1"}
    (note,) = [note for note in decided.notes if note.name == "job.launched_twice"]
    assert "i-2, i-1" in note.text
    gone = replace(young, instance=replace(young.instance, state=InstanceState.SHUTTING_DOWN))
    assert _ended(plan(_view(old, gone), NOW, RULES)) == set()


def test_doubles__the_younger_has_proven_itself__is_not_ended_before_it_is_reported() -> None:
    decided = plan(_view(_host(2, NOW - 9), _host(1, NOW - 5, proven=True)), NOW, RULES)
    assert _ended(decided) == set()
    assert "job.launched_twice" in _noted(decided)


def test_doubles__of_another_attempt__race_on() -> None:
    decided = plan(_view(_host(2, NOW - 9), _host(1, NOW - 5, attempt=2)), NOW, RULES)
    assert _ended(decided) == set()
    assert "job.launched_twice" not in _noted(decided)


def test_doubles__of_a_started_job__the_proven_one_stays_and_a_person_is_told() -> None:
    old, young = _host(2, NOW - 9), _host(1, NOW - 5, proven=True)
    decided = plan(_view(old, young, started_at=NOW - 3), NOW, RULES)
    assert _ended(decided) == {"i-2"}
    assert "job.launched_twice" in _noted(decided)


LATE = JOB.assigned_at + TERMS.job_bootstrapping - 3.0  # three seconds are left
REPORT = f"{JOB.id}:{JOB.generation}:reportStarted:0"


@pytest.mark.parametrize(
    ("observed", "sent", "leaves"),
    [
        (Observed(LATE, LATE), None, True),
        (Observed(), None, False),  # an instance may be coming up: EC2 has not been listed
        (Observed(LATE, LATE), TxView(TxPhase.SENT, NOW), False),
        (Observed(LATE, LATE), TxView(TxPhase.MINED, NOW, BLOCK.number + 1), False),
        (Observed(LATE, LATE), TxView(TxPhase.MINED, NOW, BLOCK.number), True),  # a fork undid it
        (Observed(LATE, LATE), TxView(TxPhase.REFUSED, NOW), True),
    ],
)
def test_job__too_late_for_a_new_instance__is_left_once_nothing_may_have_started_it(
    observed: Observed, sent: TxView | None, leaves: bool
) -> None:
    told = {REPORT: sent} if sent else {}
    view = replace(_view(), observed=observed, transactions=told, agreed=True)
    decided = plan(view, LATE, RULES)
    assert "job.cannot_finish" in _noted(decided)
    assert any(isinstance(action, RequestExit) for action in decided.actions) == leaves
    assert not any(isinstance(action, Launch) for action in decided.actions)


@pytest.mark.parametrize(
    ("looked", "launched_at", "buys"),
    [
        (RULES.bootstrap.visible_seconds, NOW - 130.0, True),
        (2.0, NOW - 3600.0, False),  # the clock jumped: this process has looked for two seconds
        (RULES.bootstrap.visible_seconds, NOW - 10.0, False),  # EC2 may not list it yet
        (RULES.bootstrap.visible_seconds, NOW + 3600.0, True),  # by a clock that was set back
    ],
)
def test_launch__of_an_earlier_process_that_is_not_listed__is_made_up_for_after_looking(
    looked: float, launched_at: float, buys: bool
) -> None:
    launch = LaunchView(JOB.generation, 1, LaunchPhase.LAUNCHED, launched_at)
    observed = Observed(NOW, NOW, NOW - 7200.0, looked)
    decided = plan(replace(_view(), launch=launch, observed=observed), NOW, RULES)
    assert any(isinstance(action, Launch) for action in decided.actions) == buys
