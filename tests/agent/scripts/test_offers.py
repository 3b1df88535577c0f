"""What is listed on the market: withdrawn without room, restored, changed by a reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.decide.listings import OfferRules
from agent.decide.refusal import PolicyRules
from agent.journal.orders import OrderKind, Orders
from agent.market.model import Price
from devnet.simulation.world import TYPE, Simulation, Step, default_rules
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


def test_offer__a_node_tells_another_listing_each_time__costs_a_days_gas_and_no_more() -> None:
    """What it tells is never what is wanted, whatever was sent."""
    told = iter([None, 1, 2 * 10**12, 10**30] * 10)

    def lie(simulation: Simulation) -> None:
        raw = next(told)
        simulation.market.offers = {} if raw is None else {TYPE: Price(raw)}

    rules = OfferRules(day_wei=4)
    lies = [at(100 * n, lie) for n in range(1, 40)]
    done = Simulation(offer_rules=rules).run(lies, 3950)
    assert [text for _, text in done] == ["register"] * 4


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


OTHER_TYPE = "us-east-1/m5.large"
DEAR = Price(2 * 10**12)


def ordered(second: float, kind: str, **fields: str) -> Step:
    """A person orders it, as the commands do."""
    return at(
        second,
        lambda s: Orders(s.engine).place(s.clock.now(), kind, None, "test", fields),
    )


def offer(second: float, name: str = TYPE, price: Price = DEAR) -> Step:
    return ordered(second, OrderKind.OFFER, type=name, price=str(price.raw))


def test_offer__ordered_at_another_price__is_taken_up_before_the_chain_shows_it() -> None:
    seen: list[tuple[Price | None, Price | None]] = []

    def look(simulation: Simulation) -> None:
        wanted = simulation.state.offering.prices.get(TYPE)
        seen.append((wanted, simulation.market.offers.get(TYPE)))

    simulation = Simulation()
    done = simulation.run([offer(100), at(106, look), at(160, look)], 4000)
    assert [text for _, text in done] == ["register"], "once, and nothing undoes it"
    assert seen[0][0] == DEAR
    assert seen[1] == (DEAR, DEAR)
    assert simulation.state.offering.desk.asked == {}


def test_offer__of_a_type_that_is_new__is_listed_though_nothing_was() -> None:
    simulation = Simulation()
    done = simulation.run([offer(100, OTHER_TYPE)], 1000)
    assert [text for _, text in done] == ["register"]
    assert simulation.market.offers[OTHER_TYPE] == DEAR
    assert simulation.state.rules.lifecycle.policy.prices[OTHER_TYPE] == DEAR


def test_offer__ordered_away__goes_and_is_not_restored() -> None:
    simulation = Simulation()
    done = simulation.run([ordered(100, OrderKind.REMOVE_OFFER, type=TYPE)], 4000)
    assert [text for _, text in done] == ["deregister"]
    assert TYPE not in simulation.state.offering.prices


def test_offer__ordered_without_room__waits_for_room_and_says_so() -> None:
    said: list[str] = []

    def full(simulation: Simulation) -> None:
        simulation.market.offers.clear()
        simulation.cloud.capacity = 0

    script = [
        at(1, full), offer(100),
        at(300, lambda s: said.append(s.state.offering.desk.troubles[TYPE])),
        at(500, lambda s: setattr(s.cloud, "capacity", 10)),
    ]  # fmt: skip
    done = Simulation().run(script, 1000)
    assert [text for _, text in done] == ["register"]
    assert done[0][0] > 500
    assert said[0].startswith("no room")


def test_stake_left__of_the_last_round__is_known_before_and_after_it_is_used_up() -> None:
    said: list[int | None] = []

    def tell(simulation: Simulation) -> None:
        said.append(simulation.state.offering.stake_left)

    def used_up(simulation: Simulation) -> None:
        simulation.market.stake = 0

    Simulation().run([at(0, tell), at(90, tell), at(100, used_up), at(200, tell)], 300)
    before, while_there, after = said
    assert before is None
    assert while_there
    assert after == 0


@pytest.mark.parametrize("down_at", [100.5, 104.0, 109.0, 120.0, 200.0])
def test_offer__ordered_and_the_agent_dies__is_carried_out_once(down_at: float) -> None:
    """The file that it starts with says the same: the command wrote it first."""

    def die(simulation: Simulation) -> None:
        rules = simulation.rules.lifecycle
        policy = replace(rules.policy, prices={TYPE: DEAR})
        simulation.rules.lifecycle = replace(rules, policy=policy)
        simulation.restart_in(30)

    simulation = Simulation()
    done = simulation.run([offer(100), at(down_at, die)], 2000)
    assert [text for _, text in done] == ["register"]
    assert simulation.market.offers[TYPE] == DEAR


def test_offer__ordered_and_then_changed_by_hand__is_what_the_file_says_at_a_start() -> None:
    def changed_by_hand(simulation: Simulation) -> None:
        simulation.rules = default_rules()  # the file has the old price
        simulation.restart_in(5)

    simulation = Simulation()
    done = simulation.run([offer(100), at(300, changed_by_hand)], 2000)
    assert [text for _, text in done] == ["register", "register"]
    assert simulation.market.offers == {TYPE: Price(10**12)}


def test_offer__removed_by_order_and_put_back_by_others__is_not_removed_at_the_next_start() -> None:
    def back(simulation: Simulation) -> None:
        simulation.market.offers[TYPE] = DEAR
        rules = simulation.rules.lifecycle
        policy = replace(rules.policy, prices={TYPE: DEAR})
        simulation.rules.lifecycle = replace(rules, policy=policy)
        simulation.restart_in(5)

    script = [ordered(100, OrderKind.REMOVE_OFFER, type=TYPE), at(500, back)]
    assert [text for _, text in Simulation().run(script, 2000)] == ["deregister"]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("resumed_at", [420, 1500])
def test_pause__nothing_is_listed_and_jobs_stay__until_it_is_taken_back(
    resumed_at: int, *, follow: bool
) -> None:
    """At once, however short the pause was and whenever the agent was started: it was not for want
    of room, which would have to last before a type comes back."""
    script = [
        assigned(), ordered(100, OrderKind.PAUSE), at(400, lambda s: s.restart_in(5)),
        ordered(resumed_at, OrderKind.RESUME),
    ]  # fmt: skip
    done = Simulation(offer_rules=OfferRules(follow=follow)).run(script, resumed_at + 500)
    assert [text for _, text in done[3:]] == ["deregister", "register"]
    assert done[3][0] < 130
    assert resumed_at <= done[4][0] <= resumed_at + 20


def test_offer__cloud_silent__goes_within_two_minutes_and_comes_back() -> None:
    """A region that does not answer launches nothing: an assignment there would be missed."""
    simulation = Simulation(
        setup=lambda s: s.weather.fail("cloud.headroom", seconds=1000),
    )
    done = simulation.run([], 3000)
    assert [text for _, text in done] == ["deregister", "register"]
    assert done[0][0] <= 120
    assert 1600 <= done[1][0] <= 1700
