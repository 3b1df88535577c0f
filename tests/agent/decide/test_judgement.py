"""The small pure judges, by tables: breaker, keep-alive, deadline, agenda, offers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.agenda import Agenda
from agent.decide import keepalive
from agent.decide.deadline import DEFAULT_LENGTHS, HOST_STAGES, Budget, Learner, Length, Stage
from agent.decide.job_view import Host, Observed, Probe
from agent.decide.keepalive import (
    ASKED_AGAIN,
    Answers,
    Doubt,
    HealthRules,
    Verdict,
    backoff_until,
    next_probe_at,
    reconsider,
    restarts,
    run_id,
)
from agent.decide.plan import Terminate
from agent.decide.termination_breaker import Asked, BreakerRules, BreakerState, judge
from agent.market.model import JobId
from cloud.model import InstanceId, Region
from enclave.host.documents import Status
from tests.agent.samples import INSTANCE, NOW

pytestmark = pytest.mark.unit

RULES = BreakerRules(share=0.3, window_seconds=600, min_jobs=3)
HEALTH = HealthRules()


def ends(*jobs: int, confirmed: bool = False, by_chain: bool = True) -> tuple[Terminate, ...]:
    return tuple(
        Terminate(
            JobId(job),
            Region("us-east-1"),
            (InstanceId(f"i-{job}"),),
            "stopped",
            by_chain,
            confirmed,
        )
        for job in jobs
    )


def ask(terminations: tuple[Terminate, ...], served: int) -> Asked:
    return Asked(frozenset(a.job for a in terminations), terminations, served)


@pytest.mark.parametrize(
    ("jobs", "served", "held"),
    [((1,), 1, 0), ((1, 2), 2, 0), ((1, 2, 3), 3, 3), ((1, 2, 3), 10, 0), ((1, 2, 3, 4), 10, 4)],
)
def test_breaker__ends_in_one_tick__held_above_the_share(
    jobs: tuple[int, ...], served: int, held: int
) -> None:
    ruling = judge(ask(ends(*jobs), served), BreakerState(), 0, RULES)
    assert len(ruling.held) == held
    assert len(ruling.allowed) == len(jobs) - held


def test_breaker__one_after_another__is_a_mass_too() -> None:
    state, held = BreakerState(), 0
    for job in range(1, 11):
        ruling = judge(ask(ends(job), 11 - job + held), state, 10 * job, RULES)
        state, held = ruling.state, held + len(ruling.held)
    assert held == 7  # three of ten went, the fourth in ten minutes was held, and all after it


def test_breaker__ends_far_apart__are_none() -> None:
    state = BreakerState()
    for job in range(1, 11):
        ruling = judge(ask(ends(job), 11 - job), state, 1000 * job, RULES)
        state = ruling.state
        assert ruling.held == ()


def test_breaker__held_longer_than_the_window__stays_held() -> None:
    state = BreakerState()
    for now in range(0, 5000, 100):
        ruling = judge(ask(ends(1, 2, 3), 3), state, now, RULES)
        state = ruling.state
        assert len(ruling.held) == 3


def test_breaker__no_longer_asked_for__is_forgotten() -> None:
    state = judge(ask(ends(1, 2, 3), 3), BreakerState(), 0, RULES).state
    looked = Asked(frozenset({JobId(1), JobId(2), JobId(3)}), (), 3)
    assert judge(looked, state, 10, RULES).state.held == frozenset()


@pytest.mark.parametrize("passes", [{"confirmed": True}, {"by_chain": False}])
def test_breaker__confirmed_or_our_own__passes(passes: dict[str, bool]) -> None:
    ruling = judge(ask(ends(1, 2, 3, **passes), 3), BreakerState(), 0, RULES)
    assert ruling.held == ()


def test_run_id__any__tells_its_restarts() -> None:
    assert restarts(run_id(3, 2, 7)) == 7
    assert restarts(None) == restarts("something else") == 0


@pytest.mark.parametrize(
    ("launched", "until"),
    [((), 0.0), ((5.0,), 0.0), ((5.0, 10.0), 610.0), ((1.0, 5.0, 10.0), 1210.0)],
)
def test_backoff__each_replacement__waits_twice_as_long(
    launched: tuple[float, ...], until: float
) -> None:
    assert backoff_until(launched, HEALTH) == until


@pytest.mark.parametrize(
    ("asked", "ill", "doubted"), [(10, 2, False), (10, 5, False), (10, 6, True), (2, 2, False)]
)
def test_doubt__raised__by_a_large_share_of_what_was_asked(
    asked: int, ill: int, doubted: bool
) -> None:
    doubt = reconsider(Doubt(), Answers(asked, ill), 100, HEALTH)
    assert doubt.holds(101, HEALTH) is doubted


def test_doubt__that_lasts__ends_in_belief() -> None:
    doubt = reconsider(Doubt(), Answers(10, 10), 100, HEALTH)
    doubt = reconsider(doubt, Answers(10, 10), 399, HEALTH)
    assert doubt.holds(399, HEALTH)
    assert not doubt.holds(400, HEALTH)


def test_budget__what_fits__is_judged_by_the_least_lengths() -> None:
    budget = Budget({stage: Length(4.0, 0.5) for stage in Stage})  # sums of these are exact
    least = budget.least(*HOST_STAGES, Stage.ENCLAVE, Stage.ATTEST, Stage.REPORT)
    assert budget.fits(0, least + 0.01, image_ready=True, host=HOST_STAGES)
    assert not budget.fits(0, least, image_ready=True, host=HOST_STAGES)


def test_budget__late__is_never_before_the_usual_length() -> None:
    budget = Budget()
    usual = budget.usual(*HOST_STAGES)
    for deadline in (10, 60, 120, 600, 86_400):
        late = budget.late_at(0, deadline, *HOST_STAGES)
        assert 1.5 * usual <= late <= 3 * usual


def test_learner__one_outlier__moves_little_and_many_move_half_the_way_at_most() -> None:
    learner = Learner()
    learner.adopt(Budget({**DEFAULT_LENGTHS, Stage.BOOT: Length(10, 1)}))
    learner.observe(Stage.BOOT, 10_000)
    assert learner.budget.lengths[Stage.BOOT].usual < 20
    for _ in range(50):
        learner.observe(Stage.BOOT, 4)
    assert learner.budget.lengths[Stage.BOOT].usual == pytest.approx(5, abs=0.1)


def test_agenda__put_off_and_woken__is_taken_once() -> None:
    agenda = Agenda()
    agenda.put_off(JobId(1), 100)
    agenda.put_off(JobId(1), 50)
    agenda.put_off(JobId(2), 60)
    assert agenda.next_time() == 50
    assert agenda.take(55) == [1]
    agenda.wake([JobId(2)])
    assert agenda.take(55) == [2]
    assert agenda.take(1000) == [2]
    assert agenda.next_time() is None


def test_agenda__clock_set_back__takes_all_that_was_put_off() -> None:
    agenda = Agenda()
    agenda.put_off(JobId(1), 3700)
    assert agenda.take(3600) == []
    agenda.put_off(JobId(2), 3605)
    assert agenda.take(3599.5) == []
    assert agenda.take(10) == [1, 2]
    agenda.put_off(JobId(1), 20)
    assert agenda.take(15) == []


FOUND = [
    Host(replace(INSTANCE, id=InstanceId(f"i-{n:017x}"), launched_at=NOW - 5000))
    for n in range(600)
]


def test_next_probe__found_running_after_a_start__spread_and_none_later_than_the_rules() -> None:
    first = [next_probe_at(host, HEALTH, NOW) for host in FOUND]
    assert NOW <= min(first) <= max(first) < NOW + HEALTH.catch_up_seconds
    asked: list[list[float]] = [first]
    for _ in range(3):
        asked.append(
            [
                next_probe_at(replace(host, probe=Probe(asked_at=at, passed_at=at)), HEALTH, NOW)
                for host, at in zip(FOUND, asked[-1], strict=True)
            ]
        )
    for before, after in pairwise(asked):
        gaps = [late - early for early, late in zip(before, after, strict=True)]
        assert all(0 < gap <= HEALTH.probe_seconds for gap in gaps)
    # From the second time on each minute of the cycle has its fifth of them.
    minutes = Counter(int((at - NOW) % HEALTH.probe_seconds // 60) for at in asked[2])
    assert all(80 <= count <= 160 for count in minutes.values()), minutes


def test_next_probe__launched_since_or_silent__at_once_and_soon() -> None:
    young = Host(replace(INSTANCE, launched_at=NOW + 1))
    assert next_probe_at(young, HEALTH, NOW) == 0.0
    assert next_probe_at(replace(young, probe=Probe(asked_at=NOW)), HEALTH, NOW) == NOW + 300
    silent = replace(FOUND[0], probe=Probe(asked_at=NOW, passed_at=NOW, failures=1))
    assert next_probe_at(silent, HEALTH, NOW) == NOW + HEALTH.retry_seconds


def test_judge__failed_and_told_to_start_anew__has_its_time_before_it_is_replaced() -> None:
    phases = {"running": NOW - 4000, "failed": NOW - 10}
    said = Status("failed", "g1a1r0", NOW, "p", INSTANCE.id, phases)
    host = Host(INSTANCE, said, NOW)
    assert keepalive.judge(host, Observed(), NOW, HEALTH).verdict is Verdict.ENCLAVE_DEAD
    told = replace(host, desired_run="g1a1r1", probe=Probe(restarted_at=NOW))
    assert keepalive.judge(told, Observed(), NOW + 5, HEALTH).verdict is Verdict.COMING
    late = NOW + HEALTH.restart_seconds
    assert keepalive.judge(told, Observed(), late, HEALTH).verdict is Verdict.HOST_DEAD


@pytest.mark.parametrize("every", [5, 15, 30])
def test_doubt__that_comes_and_goes__ends_as_one_that_stays_does(every: int) -> None:
    """Enclaves that are dead, as many as make half of all: nobody keeps them from being mended by
    one that answers now and then."""
    doubt, doubted = Doubt(), 0
    for turn, now in enumerate(range(0, 1200, every)):
        doubt = reconsider(doubt, Answers(10, 10 if turn % 2 else 1), now, HEALTH)
        doubted += doubt.holds(now, HEALTH)
        if not doubt.holds(now, HEALTH) and turn > 1:
            break
    tail = ASKED_AGAIN * HEALTH.retry_seconds
    assert 1 < doubted * every <= HEALTH.doubt_seconds + tail + 2 * every
