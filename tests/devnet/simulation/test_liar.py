"""Two endpoints, and one of them lies in every way there is: first in the list, and second.

Each attack is one way to lie (`opinions.Lie`), told for most of a run of the real agent's code; the
invariants say that nothing was ended, left, missed or bought for it. The storms draw the same lies
among everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import agent.load.loader
import devnet.simulation.chain
from agent.decide.belief import Belief, Case
from agent.decide.unconfirmed_launches import BurstRules
from agent.decide.who_must_agree import TABLE, Agree, Statement
from agent.market import testimony
from agent.market.model import BlockRef, JobId
from devnet.simulation.opinions import FIRST_INVENTED, WIRE_ONLY, Lie, lies
from devnet.simulation.people import requests
from devnet.simulation.scenario import Scenario, scenario
from devnet.simulation.storm import Result, Storm, quiet
from devnet.simulation.storm_troubles import Kind, Plan, Trouble
from devnet.simulation.watch import EARLY, GIVEN_UP, MISSED, NAMES

pytestmark = pytest.mark.integration

BEGINS, ENDS = 100.0, 900.0  # seconds: jobs come before it and while it lasts, and end in it
JOBS = 8
PLACES = ("first", "second")
ROOT = Path(__file__).parents[3]
ATTACKS: Mapping[Statement, Sequence[Lie]] = {
    Statement.ASSIGNED: [Lie.INVENTED],
    Statement.GONE: [Lie.UNKNOWN, Lie.FOREIGN],
    Statement.ENDED: [Lie.ENDED, Lie.POOR],
    Statement.STARTED: [Lie.STARTED],
    Statement.NOT_STARTED: [Lie.NOT_STARTED],
    Statement.ANOTHER: [Lie.OTHER_IMAGE, Lie.LATER],
    Statement.UNFIT: [Lie.OTHER_OWNER, Lie.POOR],
    Statement.PARAMS: [Lie.PARAMS, Lie.COOL_DOWN],
    Statement.BLOCK: [Lie.FINAL_TIME, Lie.ALL_OVER],
    Statement.FINAL: [Lie.FINAL_EARLY, Lie.FAR_FINAL],
    Statement.HEIGHT: [Lie.HEIGHT],
    Statement.TIME: [Lie.HEAD_TIME, Lie.FROZEN],
    Statement.ABSENT: [Lie.HIDDEN],
    Statement.LISTED: [Lie.PAGES, Lie.INVENTED],
    Statement.REVERTS: [Lie.REVERTS],
    Statement.SETTLED: [Lie.SETTLED, Lie.UNSETTLED],
    Statement.MINED: [Lie.IN_A_BLOCK, Lie.FAILED, Lie.NO_RECEIPT],
    Statement.PAID: [Lie.PAID],
    Statement.NONCE: [Lie.COUNT_HIGH, Lie.COUNT_LOW],
    Statement.PRICE: [Lie.DEAR, Lie.RATHER_DEAR, Lie.CHEAP, Lie.GAS_HIGH, Lie.GAS_LOW],
    Statement.FUNDS: [Lie.BROKE],
    Statement.TAKEN: [Lie.SWALLOWS, Lie.DECLINES],
}
# Where no job is at stake: what holds whatever is told has a test of its own.
_RULE = "tests/agent/decide/test_pricing.py::test_rule__whatever_happens__"
_OFFER = "tests/agent/scripts/test_offers.py::test_offer__"
BOUNDS: Mapping[Statement, Sequence[str]] = {
    Statement.OTHERS: [
        f"{_RULE}asks_nothing_below_its_floor",
        f"{_RULE}moves_no_further_in_a_day_but_to_its_floor",
        f"{_RULE}sends_no_more_than_its_gas",
    ],
    Statement.LISTING: [
        f"{_OFFER}a_node_tells_another_listing_each_time__costs_a_days_gas_and_no_more",
    ],
}


def lied_to(lie: Lie, place: str, *, wire: bool, seed: int = 77) -> Scenario:
    """A small calm market of which one endpoint lies for most of the time."""
    size = 2 * lies(wire=wire).index(lie) + PLACES.index(place)
    liar = Trouble(Kind.LIAR, BEGINS, ENDS, size)
    what = replace(scenario(seed, JOBS, wire=wire), witness=True, others_price=10**13, depth=6)
    short = (
        replace(one, deposit=min(one.deposit, 700)) for one in requests(seed, JOBS, within=300.0)
    )
    people = tuple(short)
    plan = Plan(seed, (liar,), gentle=True)
    return replace(what, requests=people, block_seconds=6.0, latency=0.05, plan=plan)


def play(what: Scenario) -> tuple[Result, Storm]:
    quiet()
    storm = Storm(what)
    return storm.run(), storm


def told(result: Result) -> list[str]:
    return [str(violation) for violation in result.violations]


def launched(storm: Storm) -> Counter[int]:
    """Instances that were bought, by the job."""
    machines = storm.cloud.machines.values()
    return Counter(machine.order.identity.job for machine in machines)


def test_statements__each_that_needs_somebody__is_attacked_here() -> None:
    assert {*ATTACKS, *BOUNDS} == TABLE.keys() == set(Statement)
    assert all(TABLE[one].agree is Agree.BOUND for one in BOUNDS)
    for file, _, name in (each.partition("::") for tests in BOUNDS.values() for each in tests):
        assert f"def {name}(" in (ROOT / file).read_text(), name
    on_marketv1 = {Lie.NOTICE}  # a storm's there (devnet/simulation/marketv1/told.py)
    assert set().union(*ATTACKS.values()) | on_marketv1 == set(Lie)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("lie", lies(wire=False), ids=lambda lie: lie.name)
def test_liar__over_models_of_ports__nothing_irreversible_follows(lie: Lie, place: str) -> None:
    result, storm = play(lied_to(lie, place, wire=False))
    assert told(result) == []
    assert bought_for_invented(storm) <= BurstRules().unconfirmed


@pytest.mark.parametrize(
    ("lie", "place"),
    [(lie, place) for lie in lies(wire=True) for place in PLACES
     if lie in (*WIRE_ONLY, Lie.INVENTED) or place == "first"],  # others' second: above, and storms
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_liar__over_json_rpc__nothing_irreversible_follows(lie: Lie, place: str) -> None:
    result, storm = play(lied_to(lie, place, wire=True))
    assert told(result) == []
    assert bought_for_invented(storm) <= BurstRules().unconfirmed


def bought_for_invented(storm: Storm) -> int:
    """A liar that invents forty jobs costs a few instances, and one that doesn't none."""
    return sum(n for job, n in launched(storm).items() if job >= FIRST_INVENTED)


def believes_everything(case: Case) -> Belief:
    return Belief(case.claim, agreed=True)


def takes_the_first_story(
    at: BlockRef, ids: Sequence[JobId], stories: Sequence[testimony.Story], of: int
) -> testimony.Testimony:
    told = {job: (stories[0].jobs.get(job),) for job in ids}
    return testimony.Testimony(at, True, (stories[0].terms,), told)


@pytest.mark.parametrize(
    ("lie", "name"),
    [(Lie.UNKNOWN, MISSED), (Lie.ENDED, MISSED), (Lie.FOREIGN, MISSED), (Lie.STARTED, MISSED),
     (Lie.HIDDEN, MISSED), (Lie.NOT_STARTED, GIVEN_UP), (Lie.LATER, GIVEN_UP),
     (Lie.OTHER_OWNER, GIVEN_UP), (Lie.POOR, GIVEN_UP)],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_agent__that_believes_the_first_endpoint__is_found_out(
    lie: Lie, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name in NAMES
    monkeypatch.setattr(agent.load.loader, "believe", believes_everything)
    result, _ = play(lied_to(lie, "first", wire=False))
    assert name in {violation.name for violation in result.violations}


def test_agent__whose_witness_repeats_the_first_endpoint__ends_what_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devnet.simulation.chain, "compare", takes_the_first_story)
    result, _ = play(lied_to(Lie.ENDED, "first", wire=False))
    assert EARLY in {violation.name for violation in result.violations}
