"""A crowd cannot stop the market: what calls cost, the bounds they keep, and who wins."""

from __future__ import annotations

import pytest

from bench import gas
from devnet.simulation.protocol import MAX_ASSIGNMENTS, Event, Terms
from tests.contracts.evm import account
from tests.contracts.market import AUDITORS, TYPE, UNIT, URL, USER, Market

pytestmark = pytest.mark.integration

CROWD = 200


def test_gas__every_call_with_1_50_and_200_listed__keeps_its_bound_and_is_as_published() -> None:
    measured = gas.measure()
    for row, figures in measured.items():
        for listed, figure in zip(gas.CROWDS, figures, strict=True):
            assert figure <= row.bound(listed), f"{row.name} with {listed} listed"
    assert gas.page(measured) == gas.PAGE.read_text(), "run python -m bench.gas"


@pytest.mark.parametrize("place", [1, 40 * UNIT, 100 * UNIT, 101 * UNIT, 164 * UNIT, 10**9 * UNIT])
def test_gas__any_place_in_the_crowd__keeps_the_bound(place: int) -> None:
    market = gas.prepared(CROWD)
    bounds = {row.measure: row.bound(CROWD + 1) for row in gas.ROWS}
    for call, row in (
        (("register", TYPE, place), gas.register),
        (("unstake", 1000), gas.unstake),
        (("stake", 1000), gas.stake),
        (("register", TYPE, place + 7), gas.re_price),
        (("deregister", TYPE), gas.deregister),
    ):
        market.send(gas.LATE, *call)
        assert market.evm.gas_used <= bounds[row], call


def test_crowd_without_stake__honest_one_behind_it__wins_and_rewins() -> None:
    market = gas.prepared(CROWD)
    assert len(market.read("offers", TYPE, 150, 50)) == 50
    market.send(USER, "requestJob", TYPE, 10**30, URL, 10)
    assert market.read("job", 1).provider == gas.HONEST
    back = market.crowd[77]
    market.send(back, "stake", 1000)
    market.send(USER, "requestJob", TYPE, 10**30, URL, 10)
    assert market.read("job", 2).provider == back
    market.later(60)
    assert market.slash(2)[-1].args[:2] == (2, gas.HONEST)


def test_crowd_with_stake__slashed_one_by_one__next_cheapest_wins_each_time() -> None:
    market = gas.prepared(50, able=True)
    market.send(USER, "requestJob", TYPE, 10**30, URL, 10)
    for slashed in range(8):
        assert market.read("job", 1).provider == market.crowd[slashed]
        market.later(60)
        market.slash(1)
    newcomer = market.crowd[100]
    market.send(newcomer, "stake", 1000)
    market.send(newcomer, "register", TYPE, 2 * UNIT)
    market.later(60)
    assert market.slash(1)[-1].args[:2] == (1, newcomer)


def test_assignments__256_slashed__the_job_stops_though_others_are_listed() -> None:
    market = Market(Terms(1000, 60, 90, 30, 1), crowd=MAX_ASSIGNMENTS + 1)
    for who in market.crowd:
        market.send(who, "stake", 1000)
        market.send(who, "register", TYPE, UNIT)
    market.send(USER, "requestJob", TYPE, UNIT, URL, 10)
    for generation in range(1, MAX_ASSIGNMENTS):
        market.later(60)
        events = market.send(AUDITORS[0], "reportFault", 1, generation)
        assert events[-1].args[:3] == (1, market.crowd[generation], generation + 1)
    market.later(60)
    events = market.send(AUDITORS[0], "reportFault", 1, MAX_ASSIGNMENTS)
    assert events[-1] == Event("JobStopped", (1, market.crowd[MAX_ASSIGNMENTS - 1], 4))
    assert market.read("job", 1).generation == MAX_ASSIGNMENTS


def test_strangers__with_listings_of_other_types__cost_a_match_nothing() -> None:
    quiet, loud = gas.prepared(1), gas.prepared(1)
    for number in range(20):
        who = loud.crowd[number]
        loud.send(who, "stake", 1000)
        loud.send(who, "register", "another type", UNIT)
        loud.send(who, "unstake", 1000)
    for market in (quiet, loud):
        market.send(USER, "requestJob", TYPE, 10**30, URL, 10)
    assert quiet.evm.gas_used == loud.evm.gas_used
    assert loud.read("offer", account(5), TYPE) == 0
