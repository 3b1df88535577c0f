"""Quick storms: small ones of every shape, and each seed that once found something."""

from __future__ import annotations

import pytest

from devnet.simulation.__main__ import main, play
from devnet.simulation.actors import Actors

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("seed", range(1, 9))
def test_storm__of_thirty_jobs__violates_nothing(seed: int) -> None:
    assert [str(violation) for violation in play(seed, 30).violations] == []


@pytest.mark.parametrize(
    "seed", [1, 3, 5, 14, 41, 65, 81, 104, 315, 316, 484, 495, 520, 537, 817, 975, 2200035]
)
def test_storm__whose_seed_found_a_bug__violates_nothing(seed: int) -> None:
    """1: a fork gave a job's id to another job; 3: mail outlived a replaced host; 5: a lie ended
    a job whose exit was ordered, and a clock ahead spent every settlement; 14: a new job was
    forgotten on one empty answer; 41: an empty listing after a restart bought a second instance;
    65: in the model, a job that only a late top-up made worth serving; 81: both of a race were
    terminated; 104, 495: a clock jump made an unlisted instance vanish;
    315: a job that was assigned while the agent was down, and its endpoint empty as it came up,
    waited for the next resync; 484: a fork gave a job's id to another while its report was on its
    way; 520: a clock that was ahead put looks off until long after it was set back; 537: a clock
    that was ahead made the agent leave jobs that had just been assigned; 817: an exit was
    on its way as a fork gave its job's id to another; 975: a fork put a report
    before its assignment, and nobody looked again at the refused one; 2200035: in the storm, an
    order met a full disk, and nobody confirmed anything any more."""
    assert [str(violation) for violation in play(seed, 100).violations] == []


async def _dies(_: Actors) -> None:
    raise ZeroDivisionError


def test_storm__whose_operator_dies_of_a_bug__does_not_end_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Actors, "operator", _dies)
    with pytest.raises(ZeroDivisionError):
        play(1, 5)


def test_seed__played_twice__gives_the_same_run() -> None:
    first, second = play(4, 30), play(4, 30)
    assert first == second


def test_program__for_two_seeds__prints_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["2", "--jobs", "5", "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 runs of 5 jobs")
    assert "violations: 0" in said
