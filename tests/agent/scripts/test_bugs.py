"""Effects that end in a way nobody foresaw: tried again, told, and in nobody else's way."""

from __future__ import annotations

import errno

import pytest

from agent.apply.bugs import FIRST_SECONDS, LONGEST_SECONDS, REMEMBERED_SECONDS, Bugs
from agent.journal.orders import OrderKind
from agent.market.model import JobId
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import ONE, assigned, at, clean

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

EFFECTS = [
    "images.fetch", "mailbox.stage", "cloud.launch", "mailbox.write", "attest", "chain.send",
]  # fmt: skip


def breaks(where: str, times: int) -> Simulation:
    def bug() -> Exception:
        return TypeError("a library's bug")

    return Simulation(setup=lambda s: s.weather.fail(where, bug, times=times))


@pytest.mark.parametrize("where", EFFECTS)
def test_effect__ends_by_a_bug_twice__is_tried_again_and_the_job_starts(where: str) -> None:
    simulation = breaks(where, 2)
    done = simulation.run([assigned()], 100)
    assert done[-1][1] == "reportStarted job=1"
    assert simulation.events(1).count("effect.bug") == 2
    assert "a library's bug" in simulation.said(1, "effect.bug")


@pytest.mark.parametrize(
    "where", ["chain.send", "cloud.terminate", "mailbox.forget", "images.release"]
)
def test_end__an_effect_of_it_ends_by_a_bug__leaves_nothing_all_the_same(where: str) -> None:
    """Settled or left, terminated, forgotten: each is tried again."""

    def bugs(simulation: Simulation) -> None:
        simulation.weather.fail(where, lambda: TypeError("a library's bug"), times=2)

    for ends in (
        [assigned(escrow=2000)],
        [assigned(), at(500, lambda s: s.order(OrderKind.EXIT, 1))],
    ):
        simulation = Simulation()
        simulation.run([*ends, at(100, bugs)], 6000)
        assert "effect.bug" in simulation.events(1)
        assert simulation.events(1)[-1] == "job.ended"
        clean(simulation)


def test_effect__ends_by_a_bug_each_time__waits_longer_and_longer_and_holds_up_nobody() -> None:
    simulation = breaks("images.fetch", 6)
    other = JobId(2)
    done = simulation.run([assigned(), assigned(60, other, url="ipfs://image")], 500)
    assert ("reportStarted job=2") in [text for _, text in done]
    bugs = simulation.events(1).count("effect.bug") + simulation.events(2).count("effect.bug")
    assert bugs == 6


def test_bugs__in_a_row__double_up_to_a_bound_and_end_when_it_went_well() -> None:
    bugs, key, now = Bugs(), ("fetch-image", ONE), 1000.0
    waits = []
    for _ in range(10):
        bug = bugs.note(key, ONE, "fetch-image", TypeError("x" * 900), now)
        waits.append(bug.retry_at - now)
        now = bug.retry_at
    assert waits[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert waits[-1] == LONGEST_SECONDS
    (bug,) = bugs.lately(now)
    assert str(bug).startswith("fetch-image ended by a bug (10 times): TypeError(")
    assert len(str(bug)) < 260
    bugs.well(key)
    assert list(bugs.lately(now)) == []
    assert bugs.note(key, ONE, "fetch-image", TypeError(), now).times == 1


def test_bugs__of_a_finished_job_or_long_ago__are_forgotten() -> None:
    bugs = Bugs()
    bugs.note(("attest", "i-1"), ONE, "attest", TypeError(), 0.0)
    bugs.note(("attest", "i-2"), JobId(2), "attest", TypeError(), 0.0)
    bugs.forget(ONE)
    assert [bug.job for bug in bugs.lately(10.0)] == [JobId(2)]
    assert list(bugs.lately(REMEMBERED_SECONDS)) == []


def test_status__while_a_bug_stands__says_which_job_and_when_it_is_tried_again() -> None:
    simulation = breaks("images.fetch", 3)
    seen: list[str] = []

    def look(simulation: Simulation) -> None:
        seen.extend(str(bug) for bug in simulation.state.world.bugs.lately(simulation.clock.now()))

    simulation.run([assigned(), at(14, look), at(200, look)], 300)
    assert len(seen) == 1
    assert seen[0].startswith("fetch-image ended by a bug")


def test_bug__this_machine_gave_no_file_or_no_disk__is_told_as_that() -> None:
    bugs = Bugs()
    for number in (errno.EMFILE, errno.ENOSPC, errno.EROFS):
        bug = bugs.note(("fetch", ONE), ONE, "fetch-image", OSError(number, "no more"), 0.0)
        assert bug.wanting
    assert str(bug) == f"fetch-image ended by this machine (3 times): [Errno {errno.EROFS}] no more"
    assert not bugs.note(("x", ONE), ONE, "attest", OSError(errno.EBADF, "x"), 0.0).wanting
