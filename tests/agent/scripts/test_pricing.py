"""Prices by rule through the agent: listed, told, kept over restarts, ended by a person's word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest

from agent.decide.pricing import Amount, PriceRule
from agent.journal.lines import OFFER_LISTED, OFFER_PRICED
from agent.journal.orders import OrderKind, Orders
from agent.journal.reading import Reader
from agent.market.model import Price
from devnet.simulation.world import TYPE, Simulation
from tests.agent.scripts.play import assigned, at

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

LISTED = 10**12  # what the simulation's type is listed at
RULE = PriceRule(
    "cost * 1.25, undercut 1%",
    Amount(times=Fraction(5, 4)),
    Amount(times=Fraction(1)),
    Fraction(1, 100),
)
COST = Price(8 * 10**11)  # so that the top is what is listed


def ruled(setup: Callable[[Simulation], None] = lambda simulation: None) -> Simulation:
    return Simulation(price_rules={TYPE: RULE}, costs={TYPE: COST}, setup=setup)


def rival(price: int) -> Callable[[Simulation], None]:
    return lambda simulation: simulation.market.rivals.update({TYPE: Price(price)})


def costs(price: int) -> Callable[[Simulation], None]:
    return lambda simulation: simulation.costs.update({TYPE: Price(price)})


def texts(done: list[tuple[float, str]]) -> list[str]:
    return [text for _, text in done]


def test_rule__somebody_is_cheaper__is_listed_below_and_the_journal_says_why() -> None:
    simulation = ruled()
    assert texts(simulation.run([at(100, rival(980 * 10**9))], 1000)) == ["register"]
    assert simulation.market.offers[TYPE] == Price(9702 * 10**8)
    reader = Reader(simulation.engine)
    (told,) = reader.own(OFFER_PRICED)
    assert told.text == "by rule: below the cheapest other"
    assert told.fields["was"] == str(LISTED)
    assert told.fields["to"] == str(9702 * 10**8)
    assert told.fields["other"] == str(980 * 10**9)
    (listed,) = reader.own(OFFER_LISTED)
    assert listed.text == told.text


def test_rule__nothing_to_do__touches_nothing() -> None:
    assert ruled().run([], 2000) == []


def test_rule__cost_unknown__leaves_the_listing_and_says_so() -> None:
    simulation = Simulation(price_rules={TYPE: RULE})
    assert simulation.run([at(100, rival(1))], 1000) == []
    assert simulation.state.pricing is not None
    assert "not known" in simulation.state.pricing.said(TYPE)


def test_rule__cost_rises_over_the_price__goes_to_the_floor_at_once() -> None:
    simulation = ruled()
    assert texts(simulation.run([at(100, costs(2 * LISTED))], 1000)) == ["register"]
    assert simulation.market.offers[TYPE] == Price(2 * LISTED)


@pytest.mark.parametrize("down_at", [130.0, 136.0, 150.0, 300.0])
def test_rule__dies_and_starts__moves_no_further_in_a_day(down_at: float) -> None:
    simulation = ruled()
    script = [at(100, rival(1)), at(down_at, lambda s: s.restart_in(5))]
    assert texts(simulation.run([*script, at(900, lambda s: s.restart_in(5))], 3000)) == [
        "register"
    ]
    assert simulation.market.offers[TYPE] == Price(9 * 10**11), "a tenth below, not two"


def test_rule__a_day_later__moves_on() -> None:
    simulation = ruled()
    simulation.run([at(100, rival(1))], 87_000)
    assert simulation.market.offers[TYPE] == Price(81 * 10**10)


def test_rule__the_listing_fails__is_tried_again_and_moved_once() -> None:
    simulation = ruled(setup=lambda s: s.weather.fail("chain.send", seconds=500))
    assert texts(simulation.run([at(100, rival(980 * 10**9))], 2000)) == ["register"]
    assert len(Reader(simulation.engine).own(OFFER_PRICED)) == 1


def test_rule__a_person_orders_a_price__ends() -> None:
    fields = {"type": TYPE, "price": str(2 * LISTED)}
    simulation = ruled()
    script = [
        at(
            100, lambda s: Orders(s.engine).place(s.clock.now(), OrderKind.OFFER, None, "t", fields)
        ),
        at(400, rival(1)),
    ]
    assert texts(simulation.run(script, 2000)) == ["register"]
    assert simulation.market.offers[TYPE] == Price(2 * LISTED)


OTHER_TYPE = "us-east-1/m5.large"


@pytest.mark.parametrize("down_at", [100.5, 104.0, 120.0, 5000.0])
def test_rule__ordered_for_a_new_type__is_listed_and_followed_from_then_on(down_at: float) -> None:
    """The file has the rule too: what starts again goes by it."""
    fields = {"type": OTHER_TYPE, "price": str(LISTED), "rule": "cost * 1.25", "undercut": "1%"}

    def order(simulation: Simulation) -> None:
        assert simulation.state.pricing is not None
        simulation.state.pricing.read = lambda fields: RULE
        Orders(simulation.engine).place(simulation.clock.now(), OrderKind.OFFER, None, "t", fields)

    def die(simulation: Simulation) -> None:
        simulation.price_rules = {OTHER_TYPE: RULE}
        simulation.restart_in(5)

    simulation = Simulation(costs={OTHER_TYPE: COST})
    script = [
        at(100, order), at(down_at, die),
        at(1000, lambda s: s.market.rivals.update({OTHER_TYPE: Price(980 * 10**9)})),
    ]  # fmt: skip
    assert texts(simulation.run(script, 2000 + down_at)) == ["register", "register"]
    assert simulation.market.offers[OTHER_TYPE] == Price(9702 * 10**8)


def test_rule__another_price_is_listed_while_no_agent_runs__goes_on_from_it() -> None:
    def by_hand(simulation: Simulation) -> None:
        simulation.kill()
        simulation.market.offers[TYPE] = Price(3 * LISTED)
        asyncio.get_running_loop().call_later(100, simulation.start)

    simulation = ruled()
    script = [at(100, rival(980 * 10**9)), at(400, by_hand)]
    assert texts(simulation.run(script, 1000)) == ["register", "register"]
    assert simulation.market.offers[TYPE] == Price(27 * 10**11), "a day's move from there"


def test_job__matched_while_the_price_moves__is_served() -> None:
    simulation = ruled()
    script = [at(100, costs(2 * LISTED)), assigned(110)]
    assert "reportStarted job=1" in texts(simulation.run(script, 1000))


def test_rule__starts_while_one_endpoint_tells_another_listing__waits_for_two_and_says_so() -> None:
    """A tenth of a lie is a lie: 100 times too dear would be listed at 90."""
    simulation = ruled(setup=lied_listing({TYPE: Price(100 * LISTED)}))
    simulation.with_witness = True
    told: list[str] = []
    script = [at(100, rival(980 * 10**9)), at(500, lambda s: told.append(said_by(s)))]
    assert texts(simulation.run([*script, at(600, lied_listing(None))], 1000)) == ["register"]
    assert "disagree about the listing" in told[0]
    assert simulation.market.offers[TYPE] == Price(9702 * 10**8), "from what is listed"


def test_rule__starts_while_one_endpoint_hides_the_listing__moves_no_further_than_a_day() -> None:
    simulation = ruled(setup=lied_listing({}))
    simulation.with_witness = True
    assert simulation.run([at(100, rival(1))], 900) == []


def test_rule__starts_while_the_second_endpoint_is_silent__holds_up_no_other_offer() -> None:
    simulation = ruled(setup=lambda s: s.weather.fail("witness.read", seconds=500))
    simulation.with_witness = True
    fields = {"type": OTHER_TYPE, "price": str(LISTED)}
    order = at(
        100, lambda s: Orders(s.engine).place(s.clock.now(), OrderKind.OFFER, None, "t", fields)
    )
    simulation.run([order], 400)
    assert simulation.market.offers[OTHER_TYPE] == Price(LISTED)


def lied_listing(told: Mapping[str, Price] | None) -> Callable[[Simulation], None]:
    def lie(simulation: Simulation) -> None:
        assert simulation.witness is not None
        simulation.witness.offers_told = told

    return lie


def said_by(simulation: Simulation) -> str:
    assert simulation.state.pricing is not None
    return simulation.state.pricing.said(TYPE)
