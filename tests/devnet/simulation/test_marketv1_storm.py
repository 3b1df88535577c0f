"""Quick storms on MarketV1, each seed that once found something, and what must make one fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

import agent.decide.lifecycle
from agent.market.model import Job
from agent.markets.marketv1.metadata import Metadata, Unreadable, read
from agent.markets.marketv1.terms import MarketV1Terms
from devnet.simulation.__main__ import failure, play
from devnet.simulation.cloud import SimCloud
from devnet.simulation.marketv1.asked import FAULTS, ROOM, fields, fuzz
from devnet.simulation.marketv1.storm import PRICES, MarketV1Storm
from devnet.simulation.scenario import scenario
from devnet.simulation.storm import Result, quiet
from devnet.simulation.storm_troubles import Plan
from devnet.simulation.watch import ASKED_FOR, BOUGHT, EARLY, LEFT, STRANGER, UNSERVED, Violation

pytestmark = pytest.mark.integration

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(("seed", "jobs"), [(1, 8), (28, 12), (9, 20), (11105, 12)])
def test_storm__with_dust_between__violates_nothing(seed: int, jobs: int) -> None:
    """9: a fork took the settlement of a dry job away, and nobody looked at it again; 11105: the
    rate of a job that a lie invented was held against the true one of that id."""
    found = play(seed, jobs, market="marketv1").violations
    assert [str(violation) for violation in found] == []


def test_seed__played_twice__gives_the_same_run() -> None:
    assert play(12, 3, market="marketv1") == play(12, 3, market="marketv1")


def test_failure__names_the_market() -> None:
    result = replace(calm(12, 2), violations=(Violation(1.0, LEFT, "seen"),))
    again = next(failure(result, 2, wire=True, market="marketv1"))
    assert again.endswith("--seed 12 --jobs 2 --wire --market marketv1")


def calm(seed: int, jobs: int) -> Result:
    """Nothing goes wrong but what owners do."""
    quiet()
    what = replace(scenario(seed, jobs, wire=True), plan=Plan(seed, (), gentle=True))
    return MarketV1Storm(what).run()


def serves_whatever_is_written(patch: pytest.MonkeyPatch) -> None:
    """The price is asked of nobody."""
    patch.setattr("agent.decide.refusal.JOB_CHECKS", ())


def serves_on(patch: pytest.MonkeyPatch) -> None:
    """Dry, lowered or closed: it is never over."""
    patch.setattr(MarketV1Terms, "is_over", lambda terms, job, now: job.is_stopped)


def ends_early(patch: pytest.MonkeyPatch) -> None:
    """A notice ends a job at once."""
    whole = MarketV1Terms.ending

    def ending(terms: MarketV1Terms, job: Job) -> object:
        found = whole(terms, job)
        early = job.notice is not None and found is not None
        return replace(found, at=job.settled_until) if early and found is not None else found

    patch.setattr(MarketV1Terms, "ending", ending)


def leaves_the_last_unit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(agent.decide.lifecycle, "_to_record", lambda view, job, now: False)


def serves_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(agent.decide.lifecycle, "_serve", lambda view, job, now, draft, rules: None)


def stages_no_params(patch: pytest.MonkeyPatch) -> None:
    """Hosts are told of init params that nobody put into the bucket."""

    async def nothing(cloud: SimCloud, region: str, params: bytes) -> None:
        pass

    patch.setattr(SimCloud, "stage_params", nothing)


@pytest.mark.parametrize(
    ("broken", "name"),
    [(serves_whatever_is_written, BOUGHT), (serves_on, STRANGER), (ends_early, EARLY),
     (leaves_the_last_unit, LEFT), (serves_nobody, UNSERVED),
     (stages_no_params, ASKED_FOR)],
)  # fmt: skip
def test_agent__broken_on_purpose__is_found(
    monkeypatch: pytest.MonkeyPatch, broken: Break, name: str
) -> None:
    broken(monkeypatch)
    monkeypatch.setattr("devnet.simulation.scenario.LONGEST", 2200.0)
    assert name in {violation.name for violation in calm(12, 8).violations}


def test_texts__of_each_fault__are_refusals_for_the_agent_too() -> None:
    """10^5 of them: none raises, and none is taken that was not meant to be served."""
    rng = random.Random(18)
    why: dict[str, int] = dict.fromkeys(FAULTS, 0)
    for number in range(100_000):
        text, fault = fuzz(rng, number, "c6a.xlarge", "ipfs://image")
        why[fault] += 1
        raw = text.encode("utf-8", "surrogateescape")
        assert _refused(raw), f"{fault}: {text[:200]!r}"
    assert min(why.values()) > 1000
    good = read(repr(fields(1, "c6a.xlarge", "ipfs://image")).replace("'", '"').encode()
                .replace(b"False", b"false"))  # fmt: skip
    assert isinstance(good, Metadata)


def _refused(raw: bytes) -> bool:
    """By the parser, or by what the policy knows of types, room and families."""
    said = read(raw)
    if isinstance(said, Unreadable):
        return True
    work = said.workload
    fits = work.cpu_count <= ROOM[0] and work.memory_mib <= ROOM[1] and work.family == "tuna"
    return not fits or str(said.instance_type) not in PRICES or not work.url.isascii()
