"""What is listed on the market: withdrawn without room, restored, changed by a reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.decide.listings import OfferRules
from agent.decide.refusal import PolicyRules
from agent.market.model import Price
from devnet.simulation.world import TYPE, Simulation, Step
from tests.agent.scripts.play import assigned, at

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_offer__no_room_for_another_job__is_withdrawn_and_restored_later() -> None:
    def full(simulation: Simulation) -> None:
        simulation.cloud.capacity = 0

    def room(simulation: Simulation) -> None:
        simulation.cloud.capacity = 10

    simulation = Simulation()
    done = simulation.run([at(100, full), at(1000, room)], 3000)
    assert [text for _, text in done] == ["deregister", "register"]
    assert 160 <= done[0][0] <= 200
    assert 1600 <= done[1][0] <= 1650


def test_offer__when_following_is_off__stays_as_it_is() -> None:
    simulation = Simulation(
        setup=lambda s: setattr(s.cloud, "capacity", 0), offer_rules=OfferRules(follow=False)
    )
    assert simulation.run([], 3000) == []


def test_offer__flapping_room__is_bounded_by_the_budget() -> None:
    rules = OfferRules(withdraw_after_seconds=0, restore_after_seconds=0, day_wei=4)
    flips: list[Step] = [
        at(100 * n, lambda s, n=n: setattr(s.cloud, "capacity", n % 2))  # type: ignore[misc] # bound
        for n in range(1, 60)
    ]
    done = Simulation(offer_rules=rules).run(flips, 7000)
    assert len(done) == 4


def test_price__changed_by_a_reload__is_listed_and_running_jobs_are_not_vetted_again() -> None:
    def reload(simulation: Simulation) -> None:
        prices = {TYPE: Price(2 * 10**12)}
        rules = replace(simulation.rules.lifecycle, policy=PolicyRules(prices=prices))
        simulation.state.offering.prices = prices
        simulation.state.take(replace(simulation.rules, lifecycle=rules))

    simulation = Simulation()
    done = simulation.run([assigned(), at(500, reload)], 1500)
    assert [text for _, text in done[3:]] == ["register"]


def test_offer__withdrawn_before_a_restart__is_restored_after_it() -> None:
    def capacity(count: int) -> Callable[[Simulation], None]:
        return lambda simulation: setattr(simulation.cloud, "capacity", count)

    script = [at(100, capacity(0)), at(500, lambda s: s.restart_in(5)), at(1000, capacity(10))]
    done = Simulation().run(script, 3000)
    assert [text for _, text in done] == ["deregister", "register"]
    assert 1600 <= done[1][0] <= 1650


def test_offer__removed_by_a_person__stays_removed_over_a_restart() -> None:
    def remove(simulation: Simulation) -> None:
        simulation.market.offers.clear()

    script = [at(100, remove), at(500, lambda s: s.restart_in(5))]
    assert Simulation().run(script, 3000) == []


def test_offer__budget_spent_before_a_restart__is_spent_after_it() -> None:
    rules = OfferRules(withdraw_after_seconds=0, restore_after_seconds=0, day_wei=2)
    flips: list[Step] = [
        at(100 * n, lambda s, n=n: setattr(s.cloud, "capacity", n % 2))  # type: ignore[misc] # bound
        for n in range(1, 20)
    ]
    restarts = [at(950, lambda s: s.restart_in(5))]
    assert len(Simulation(offer_rules=rules).run([*flips, *restarts], 3000)) == 2
