"""A wall clock that is set, forwards or back, while the agent runs: nothing is lost by it."""

from __future__ import annotations

import pytest

from agent.decide.host_orders import EnclaveRules, attest_when_due, question_for
from agent.decide.job_view import Host, ImagePhase, ImageView, JobView, Probe
from agent.decide.plan import Draft
from agent.ports import EnclaveEarly
from devnet.simulation.world import Simulation, Step
from enclave.host.documents import Status
from tests.agent.samples import ACCOUNT, BLOCK, IMAGE, INSTANCE, JOB, NOW, TERMS
from tests.agent.scripts.play import assigned, at, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

HOUR = 3600.0


def skew(second: float, seconds: float) -> Step:
    return at(second, lambda simulation: setattr(simulation.agent_clock, "skew_seconds", seconds))


def texts(done: list[tuple[float, str]]) -> list[str]:
    return [text for _, text in done]


def test_clock__an_hour_ahead_at_the_assignment__leaves_no_job() -> None:
    done = Simulation().run([skew(5, HOUR), assigned(), skew(200, 0.0)], 900)
    assert "requestToExitJob job=1" not in texts(done)
    assert done[-1][1] == "reportStarted job=1"


def test_clock__a_minute_behind_at_the_assignment__buys_at_once_all_the_same() -> None:
    done = Simulation().run([skew(5, -60.0), assigned()], 30)
    assert done[0] == (12.0, "launch job=1 attempt=1")


def test_clock__ahead_while_a_job_comes_up__has_it_reported_all_the_same() -> None:
    done = Simulation().run([assigned(), skew(30, HOUR)], 200)
    assert done[-1][1] == "reportStarted job=1"


def test_clock__set_forward_before_the_first_listing__buys_nothing_twice() -> None:
    def unlisted(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 25.0

    script = [skew(5, -HOUR), assigned(), skew(24, 0.0)]
    done = Simulation(setup=unlisted).run(script, 300)
    assert [text for text in texts(done) if text.startswith("launch")] == ["launch job=1 attempt=1"]


def test_clock__set_back_while_an_end_is_waited_for__ends_it_within_a_minute() -> None:
    script = [assigned(), skew(1000, HOUR), stopped(1010), skew(1030, 0.0)]
    done = Simulation().run(script, 1400)
    ended = [when for when, text in done if text.startswith("terminate")]
    assert len(ended) == 1
    assert ended[0] < 1010 + 12 * 6 + 60


@pytest.mark.parametrize(
    ("where", "fails_at", "back_at"),
    [("cloud.launch", 6, 13), ("images.fetch", 6, 13)],
)
def test_clock__set_back_after_something_failed__tries_again_at_once(
    where: str, fails_at: float, back_at: float
) -> None:
    """What a clock put off that was five minutes ahead would wait for these to come again."""
    fail = at(fails_at, lambda simulation: simulation.weather.fail(where, times=1))
    done = Simulation().run([skew(5, 300.0), fail, assigned(), skew(back_at, 0.0)], 600)
    (reported,) = [when for when, text in done if text == "reportStarted job=1"]
    assert reported < back_at + 60


def test_attest_when_due__asked_by_a_clock_that_was_ahead__asks_again() -> None:
    status = Status("running", "g1a1r0", NOW - 3.0, "p", "i-1")
    image = ImageView(ImagePhase.READY, image=IMAGE)
    view = JobView(JOB.id, ACCOUNT, TERMS, BLOCK, JOB, image=image)
    for ahead, asked in ((0.0, 0), (500.0, 1)):
        host = Host(INSTANCE, status, NOW - 2.0, Probe(asked_at=NOW - 1.0 + ahead), "g1a1r0")
        draft = Draft("starting")
        attest_when_due(question_for(view, host, EnclaveRules()), host, NOW, 2.0, draft)
        assert len(draft.actions) == asked


def test_clock__set_back_by_an_hour__asks_a_running_enclave_that_dies_all_the_same() -> None:
    def dies(simulation: Simulation) -> None:
        (machine,) = simulation.cloud.machines.values()
        machine.enclave_dies_at = simulation.clock.now()

    done = Simulation().run([assigned(), skew(200, HOUR), skew(480, 0.0), at(500, dies)], 1500)
    assert any(text.startswith("order job=1 run=g1a1r1") for _, text in done)


def early(second: float, times: int) -> Step:
    """So many documents in a row are of a time that is still to come by the agent's clock."""

    def fault() -> EnclaveEarly:
        return EnclaveEarly("attestation refused (not-yet-valid): check this machine's clock")

    return at(second, lambda simulation: simulation.weather.fail("attest", fault, times=times))


def test_clock__behind_the_documents_of_a_new_enclave__no_second_instance_and_said_once() -> None:
    """Time mends it: the next instance's documents would be as early, and this one's are good."""
    simulation = Simulation()
    done = simulation.run([early(0, 20), assigned()], 200)
    assert [text for text in texts(done) if text.startswith("launch")] == ["launch job=1 attempt=1"]
    assert done[-1][1] == "reportStarted job=1"
    assert simulation.events(1).count("enclave.early") == 1
    assert "check this machine's clock" in simulation.said(1, "enclave.early")
    assert "enclave.refused" not in simulation.events(1)


def test_clock__behind_the_documents_of_a_running_enclave__restarts_and_replaces_nothing() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), early(400, 10)], 4000)
    assert texts(done)[-1] == "reportStarted job=1"
    assert simulation.events(1).count("enclave.early") == 1


@pytest.mark.parametrize("off", [300.0, -300.0, 3600.0, -3600.0])
def test_clock__wrong_all_the_time__is_as_a_right_one_where_aws_tells_the_time(off: float) -> None:
    """An hour ahead every new job would seem too late, and none would be bought; behind, no
    document would be taken."""
    script = [assigned(), stopped(1000)]
    right = Simulation().run([*script], 1300)
    assert "reportStarted job=1" in texts(right)
    assert Simulation(aws_is_silent=False).run([skew(1, off), *script], 1300) == right


@pytest.mark.parametrize("off", [120.0, 300.0])
def test_clock__ahead_within_the_window_and_aws_silent__loses_no_job(off: float) -> None:
    done = Simulation().run([skew(1, off), assigned()], 700)
    assert "reportStarted job=1" in texts(done)
    assert not any(text.startswith("requestToExit") for text in texts(done))


def test_clock__of_aws_comes_and_goes__leaves_no_job() -> None:
    def silent(simulation: Simulation) -> None:
        simulation.told_clock.ahead = lambda: None

    done = Simulation(aws_is_silent=False).run([skew(1, -300.0), assigned(), at(30, silent)], 200)
    assert [text for text in texts(done) if text.startswith("launch")] == ["launch job=1 attempt=1"]
