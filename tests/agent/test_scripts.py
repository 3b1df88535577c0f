"""Timed scripts: (second, what happens) in, the exact list of (second, what was done) out.

The agent's own code under a virtual clock; blocks every 12 s, five of them to finality, published
cold starts. Days of protocol time take milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog

from agent.breaker import BreakerRules
from agent.journal import OrderKind
from agent.market.model import Address, JobId, Price
from agent.offers import OfferRules
from agent.policy import PolicyRules
from devnet.simulation.cloud import Machine
from devnet.simulation.market import OTHER, USER
from devnet.simulation.world import PRICES, TYPE, Simulation, Step, default_rules
from faults import Refused, RetryLater

pytestmark = pytest.mark.unit

ONE = JobId(1)
BOUGHT = [(12.0, "launch job=1 attempt=1"), (22.1, "order job=1 run=g1a1r0")]
STARTED = [*BOUGHT, (46.0, "reportStarted job=1")]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def at(second: float, happens: Callable[[Simulation], object]) -> Step:
    def do(simulation: Simulation) -> None:
        happens(simulation)

    return (second, do)


def assigned(second: float = 1, job: JobId = ONE, **more: Any) -> Step:
    return at(second, lambda s: s.market.assign(job, **more))


def machine(simulation: Simulation, number: int = 0) -> Machine:
    return list(simulation.cloud.machines.values())[number]


def clean(simulation: Simulation) -> None:
    assert simulation.left_in_aws() == []
    assert simulation.market.money_is_exact()


def test_job__funded_for_a_while__runs_dry_and_leaves_nothing() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(escrow=2000)], 4000)
    assert done == [
        *STARTED,
        (2053.0, "settle job=1"),  # started in block 48, dry at 2048: the next block says so
        (2115.0, "terminate job=1 01"),  # five blocks later it is final
    ]
    assert (simulation.market.earned, simulation.market.refunded) == (2000, 0)
    assert simulation.events(1)[-1] == "job.ended"
    clean(simulation)


def test_job__stopped_by_its_user__ends_when_that_is_final() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), at(1000, lambda s: s.market.stop_by_user(ONE))], 3000)
    assert [text for _, text in done[3:]] == ["terminate job=1 01"]
    second = done[-1][0]
    assert second >= 1008 + 5 * 12  # the block of the stop, and five on it
    assert second <= 1008 + 5 * 12 + 6
    clean(simulation)


def test_job__stopped_while_it_boots__is_taken_down_and_never_reported() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), at(20, lambda s: s.market.stop_by_user(ONE))], 2000)
    assert done[:2] == BOUGHT
    assert [text for _, text in done[2:]] == ["terminate job=1 01"]
    clean(simulation)


def test_job__topped_up_before_the_dry_second__runs_on() -> None:
    simulation = Simulation()
    script = [assigned(escrow=2000), at(1500, lambda s: s.market.fund(ONE, 1000))]
    done = simulation.run(script, 6000)
    assert done[3][1] == "settle job=1"
    assert 3048 <= done[3][0] <= 3070
    assert simulation.market.earned == 3000
    clean(simulation)


def test_assignment__while_the_agent_was_down__is_picked_up_at_its_start() -> None:
    script = [at(0.5, lambda s: s.kill()), assigned(1), at(100, lambda s: s.start())]
    done = Simulation().run(script, 400)
    assert done[0] == (100.0, "launch job=1 attempt=1")
    assert done[-1][1] == "reportStarted job=1"


def test_assignment__its_event_lost__is_found_by_the_resync() -> None:
    def deaf(simulation: Simulation) -> None:
        simulation.weather.fail("chain.events", seconds=30)

    script = [at(0.5, deaf), assigned(1)]
    simulation = Simulation(setup=lambda s: setattr(s.market, "_touched", Deaf()))
    done = simulation.run(script[1:], 900)
    assert [text for _, text in done][:1] == ["launch job=1 attempt=1"]
    assert 300 <= done[0][0] <= 301


class Deaf(set[JobId]):
    """Forgets what changed: every event is lost."""

    def add(self, element: JobId) -> None:
        del element


def test_image__slower_than_the_boot__does_not_delay_the_launch() -> None:
    simulation = Simulation(setup=lambda s: setattr(s.images, "seconds", 90.0))
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done] == [
        "launch job=1 attempt=1",
        "order job=1 run=g1a1r0",
        "reportStarted job=1",
    ]
    assert done[0][0] == 12.0
    assert done[1][0] == pytest.approx(102.1, abs=0.2)


def test_image__hostile__gives_the_instance_back_and_leaves_the_job() -> None:
    simulation = Simulation(setup=lambda s: s.images.hostile.add("ipfs://image"))
    done = simulation.run([assigned()], 4600)
    texts = [text for _, text in done]
    assert texts[0] == "launch job=1 attempt=1"
    assert sorted(texts[1:3]) == ["requestToExitJob job=1", "terminate job=1 01"]
    assert texts[3:] == ["finalizeExit job=1"]
    assert done[2][0] == pytest.approx(22.0, abs=0.2)
    assert simulation.events(1)[-1] == "job.ended"
    clean(simulation)


def test_image__gateway_down_for_a_while__is_fetched_when_it_is_back() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("images.fetch", seconds=100))
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done][-1] == "reportStarted job=1"
    assert 100 <= done[1][0] <= 120


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"instance_type": "us-east-1/m5.large"}, "type"),
        ({"instance_type": "nonsense"}, "type"),
        ({"escrow": 599}, "escrow"),
        ({"price": Price(10**12 - 1)}, "price"),
    ],
)
def test_job__against_the_policy__costs_nothing_and_is_left(
    change: dict[str, object], rule: str
) -> None:
    simulation = Simulation()
    done = simulation.run([assigned(1, ONE, **change)], 4600)
    assert [text for _, text in done] == ["requestToExitJob job=1", "finalizeExit job=1"]
    assert simulation.cloud.machines == {}
    assert "job.refused" in simulation.events(1)
    assert simulation.said(1, "job.refused").startswith(rule)


def test_job__of_a_denied_owner__is_left_alone_when_so_configured() -> None:
    rules = default_rules()
    policy = PolicyRules(prices=PRICES, deny_owners=frozenset({USER.lower()}))
    bootstrap = replace(rules.lifecycle.bootstrap, leave_refused=False)
    rules.lifecycle = replace(rules.lifecycle, policy=policy, bootstrap=bootstrap)
    simulation = Simulation(rules=rules)
    assert simulation.run([assigned()], 4600) == []
    assert "owner" in simulation.said(1, "job.refused")


def test_launch__its_reply_lost__is_the_same_call_again() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("cloud.launch", times=3, after=True))
    done = simulation.run([assigned()], 400)
    assert done[:1] == BOUGHT[:1]
    assert len(simulation.cloud.machines) == 1
    assert done[-1][1] == "reportStarted job=1"


def test_launch__its_reply_lost_and_not_listed_yet__is_the_same_call_again() -> None:
    def hidden(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 60.0
        simulation.weather.fail("cloud.launch", times=3, after=True)

    simulation = Simulation(setup=hidden)
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done if text.startswith("launch")] == ["launch job=1 attempt=1"]
    assert done[-1][1] == "reportStarted job=1"


def test_launch__no_zone_has_room__is_tried_again_while_it_fits() -> None:
    def sold_out(simulation: Simulation) -> None:
        simulation.cloud.zones = {"a": 0, "b": 0}

    def back(simulation: Simulation) -> None:
        simulation.cloud.zones = {"a": 0, "b": 1}

    done = Simulation(setup=sold_out).run([assigned(), at(200, back)], 600)
    assert done[0][1] == "launch job=1 attempt=1"
    assert 200 <= done[0][0] <= 211
    assert done[-1][1] == "reportStarted job=1"


def test_launch__refused_for_good__leaves_the_job() -> None:
    def broken(simulation: Simulation) -> None:
        simulation.weather.fail("cloud.launch", lambda: Refused("no such AMI"))

    done = Simulation(setup=broken).run([assigned()], 300)
    assert [text for _, text in done] == ["requestToExitJob job=1"]


def test_host__that_never_boots__is_raced_by_a_second_and_given_back() -> None:
    def first_is_dead(simulation: Simulation) -> None:
        def launched(machine: Machine) -> None:
            machine.never_boots = machine.order.identity.attempt == 1

        simulation.cloud.on_launch = launched

    simulation = Simulation(setup=first_is_dead)
    done = simulation.run([assigned()], 900)
    texts = [text for _, text in done]
    assert texts[0] == "launch job=1 attempt=1"
    assert "launch job=1 attempt=2" in texts
    second = {text: when for when, text in done}["launch job=1 attempt=2"]
    assert second == pytest.approx(12 + 3 * 35, abs=5)  # three times what boots usually take
    assert texts.index("reportStarted job=1") < texts.index("terminate job=1 01")
    assert simulation.cloud.live() == 1


def test_nothing__that_cannot_finish__is_bought() -> None:
    simulation = Simulation()
    script = [at(0.5, lambda s: s.kill()), assigned(1), at(610, lambda s: s.start())]
    done = simulation.run(script, 1300)
    assert [text for _, text in done] == ["requestToExitJob job=1"]
    assert simulation.cloud.machines == {}
    assert "job.cannot_finish" in simulation.events(1)


def test_deadline__missed__is_told_and_the_instance_ends_once_it_is_final() -> None:
    def dead(simulation: Simulation) -> None:
        simulation.cloud.on_launch = lambda machine: setattr(machine, "never_boots", True)

    simulation = Simulation(setup=dead)
    done = simulation.run([assigned()], 2000)
    texts = [text for _, text in done]
    assert "reportStarted job=1" not in texts
    assert "job.missed" in simulation.events(1)
    ends = [when for when, text in done if text.startswith("terminate")]
    assert all(when >= 612 + 60 for when in ends)
    assert simulation.cloud.live() == 0


def test_slash__reassigned_elsewhere__ends_ours_once_it_is_final() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), at(1200, lambda s: s.market.slash(ONE, OTHER))], 3000)
    assert done[-1][1] == "terminate job=1 01"
    assert done[-1][0] >= 1212 + 60 - 12
    assert simulation.events(1)[-1] == "job.ended"


def test_reorganisation__takes_the_assignment_away__ends_what_was_bought() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), at(30, lambda s: s.market.undo(ONE))], 1500)
    assert done[-1][1] == "terminate job=1 01"
    assert done[-1][0] >= 12 + 60
    clean(simulation)


def test_exit__ordered__is_served_through_the_cool_down_whatever_happens() -> None:
    simulation = Simulation()
    script = [
        assigned(),
        at(500, lambda s: s.order(OrderKind.EXIT, 1)),
        at(1500, lambda s: s.restart_in(600)),
    ]
    done = simulation.run(script, 6000)
    assert [text for _, text in done[3:]] == [
        "requestToExitJob job=1",
        "finalizeExit job=1",
        "terminate job=1 01",
    ]
    asked, finalized, ended = (when for when, _ in done[3:])
    assert asked == pytest.approx(503, abs=3)
    assert finalized >= 504 + 3600
    assert finalized <= 504 + 3600 + 18
    assert ended >= finalized + 5 * 12
    assert simulation.market.earned == 504 + 3600 - 48
    clean(simulation)


def test_exit_all__withdraws_every_offer_first__then_drains_every_job() -> None:
    simulation = Simulation(offer_rules=OfferRules(probe_seconds=5))
    jobs = [JobId(number) for number in range(1, 6)]
    script = [
        *(assigned(1, job) for job in jobs),
        at(500, lambda s: s.order(OrderKind.EXIT_ALL)),
    ]
    done = simulation.run(script, 6000)
    after = [text for when, text in done if when >= 500]
    assert after[0] == "deregister"
    assert sorted(after[1:6]) == [f"requestToExitJob job={job}" for job in jobs]
    assert simulation.market.offers == {}
    assert simulation.market.stake == 1_000_000
    assert all(job.is_stopped for job in simulation.market.jobs_.values())
    clean(simulation)


def test_enclave__dead__is_restarted_on_its_host() -> None:
    simulation = Simulation()

    def dies(simulation: Simulation) -> None:
        machine(simulation).enclave_dies_at = simulation.clock.now()

    done = simulation.run([assigned(), at(1000, dies)], 3000)
    assert [text for _, text in done[3:]] == ["order job=1 run=g1a1r1"]
    # Asked every 300 s; four answers missed, 20 s apart.
    assert done[3][0] <= 1000 + 300 + 4 * 20 + 5


def test_answer__missed_once__is_nothing() -> None:
    simulation = Simulation()
    script = [assigned(), at(400, lambda s: s.weather.fail("attest", times=3))]
    assert simulation.run(script, 3000) == STARTED


def test_host__hung_though_ec2_calls_it_fine__is_replaced() -> None:
    def hangs(simulation: Simulation) -> None:
        machine(simulation).hangs_at = simulation.clock.now()

    simulation = Simulation()
    done = simulation.run([assigned(), at(1000, hangs)], 3000)
    texts = [text for _, text in done[3:]]
    assert texts[0] == "launch job=1 attempt=2"
    assert texts[1] == "order job=1 run=g1a2r0"
    assert texts[2] == "terminate job=1 01"  # only when the new one has proven itself
    assert done[3][0] <= 1000 + 300 + 180
    assert simulation.cloud.live() == 1


def test_instance__gone__is_replaced_and_not_more_often_than_the_back_off_allows() -> None:
    def dies(simulation: Simulation) -> None:
        for one in simulation.cloud.machines.values():
            one.ends_at = min(one.ends_at, simulation.clock.now())

    script = [assigned(), at(1000, dies), at(1100, dies)]
    done = Simulation().run(script, 4000)
    launches = [when for when, text in done if text.startswith("launch")]
    assert launches[1] == pytest.approx(1000, abs=21)
    assert launches[2] >= launches[1] + 600
    assert len(launches) == 3


def test_observer__when_everything_looks_dead__is_doubted_first() -> None:
    jobs = [JobId(number) for number in range(1, 9)]

    def blind(simulation: Simulation) -> None:
        simulation.weather.fail("attest", seconds=250)

    simulation = Simulation()
    done = simulation.run([*(assigned(1, job) for job in jobs), at(1000, blind)], 3000)
    assert len([text for _, text in done if text.startswith("launch")]) == 8
    assert not [text for when, text in done if when > 900]


def lying(found: object) -> dict[JobId, object]:
    """An empty answer for everything: what has terminated fleets elsewhere."""
    del found
    return {}


def test_node__that_answers_empty_for_all__terminates_nobody() -> None:
    jobs = [JobId(number) for number in range(1, 11)]

    def lies(simulation: Simulation) -> None:
        simulation.market.lies = lying  # type: ignore[assignment] # an empty map of any kind

    def honest(simulation: Simulation) -> None:
        simulation.market.lies = None

    simulation = Simulation()
    script = [*(assigned(1, job) for job in jobs), at(1000, lies), at(5000, honest)]
    done = simulation.run(script, 6000)
    assert not [text for _, text in done if text.startswith("terminate")]
    assert "breaker.held" in simulation.events(1)


def test_node__that_lies__is_contradicted_by_the_second_endpoint() -> None:
    def lies(simulation: Simulation) -> None:
        simulation.market.lies = lying  # type: ignore[assignment] # an empty map of any kind

    simulation = Simulation(with_witness=True)
    done = simulation.run([assigned(), at(1000, lies)], 6000)
    assert done == STARTED
    assert "job.end_not_final" in simulation.events(1)


def test_mass_of_ends__true_and_confirmed_by_the_operator__is_carried_out() -> None:
    jobs = [JobId(number) for number in range(1, 11)]
    simulation = Simulation()
    script = [
        *(assigned(1, job) for job in jobs),
        *(at(1000, lambda s, job=job: s.market.stop_by_user(job)) for job in jobs),  # type: ignore[misc] # bound
        at(3000, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS)),
    ]
    done = simulation.run(script, 4000)
    ends = [when for when, text in done if text.startswith("terminate")]
    assert len(ends) == 10
    assert all(3000 <= when <= 3010 for when in ends)
    clean(simulation)


def test_mass_of_ends__confirmed_by_the_second_endpoint__needs_no_operator() -> None:
    jobs = [JobId(number) for number in range(1, 11)]
    simulation = Simulation(with_witness=True)
    script = [
        *(assigned(1, job) for job in jobs),
        *(at(1000, lambda s, job=job: s.market.stop_by_user(job)) for job in jobs),  # type: ignore[misc] # bound
    ]
    done = simulation.run(script, 2000)
    assert len([text for _, text in done if text.startswith("terminate")]) == 10
    clean(simulation)


def test_breaker__few_ends__are_not_held() -> None:
    rules = default_rules()
    rules.breaker = BreakerRules(share=0.1, min_jobs=3)
    simulation = Simulation(rules=rules)
    script = [
        assigned(1, JobId(1)),
        assigned(1, JobId(2)),
        at(1000, lambda s: s.market.stop_by_user(JobId(1))),
        at(1000, lambda s: s.market.stop_by_user(JobId(2))),
    ]
    done = simulation.run(script, 2000)
    assert len([text for _, text in done if text.startswith("terminate")]) == 2


def test_chain__unreadable_for_an_hour__changes_nothing_but_latency() -> None:
    simulation = Simulation()
    script = [
        assigned(escrow=3000),
        at(500, lambda s: s.weather.fail("chain.read", seconds=3600)),
    ]
    done = simulation.run(script, 6000)
    assert [text for _, text in done[3:]] == ["settle job=1", "terminate job=1 01"]
    assert done[3][0] >= 4100
    assert simulation.market.earned == 3000


def test_aws__unseen_for_an_hour__touches_nobody() -> None:
    simulation = Simulation()

    def blind(simulation: Simulation) -> None:
        for where in ("cloud.list", "mailbox.reports"):
            simulation.weather.fail(where, seconds=3600)

    assert simulation.run([assigned(), at(500, blind)], 6000) == STARTED


def test_listing__that_comes_back_empty__buys_nothing() -> None:
    """An answer without instances is doubted for a while; the enclave still answers."""

    def vanish(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 10**9

    def seen(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 0

    simulation = Simulation()
    assert simulation.run([assigned(), at(500, vanish), at(590, seen)], 3000) == STARTED


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
        simulation.agent.offering.prices = prices
        simulation.agent.reload(replace(simulation.rules, lifecycle=rules))

    simulation = Simulation()
    done = simulation.run([assigned(), at(500, reload)], 1500)
    assert [text for _, text in done[3:]] == ["register"]


def test_settlement__of_a_long_job__comes_as_often_as_configured() -> None:
    rules = default_rules()
    ending = replace(rules.lifecycle.ending, settle_every_seconds=3600.0)
    rules.lifecycle = replace(rules.lifecycle, ending=ending)
    simulation = Simulation(rules=rules)
    done = simulation.run([assigned(escrow=10**6)], 3 * 3600)
    assert [text for _, text in done[3:]] == ["settle job=1", "settle job=1"]
    assert simulation.market.earned == pytest.approx(2 * 3600, abs=60)


def test_report__its_node_silent__is_sent_until_it_is_mined() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("chain.send", seconds=200))
    done = simulation.run([assigned()], 400)
    assert done[-1][1] == "reportStarted job=1"
    assert 200 <= done[-1][0] <= 206


def test_report__nothing_attested__is_never_sent() -> None:
    def wrong(simulation: Simulation) -> None:
        simulation.weather.fail("attest", lambda: Refused("PCR0 is of another image"))

    simulation = Simulation(setup=wrong)
    done = simulation.run([assigned()], 1500)
    assert "reportStarted job=1" not in [text for _, text in done]


def test_throttled__launch__is_repeated_with_the_wait_that_aws_asks_for() -> None:
    def throttled(simulation: Simulation) -> None:
        simulation.weather.fail(
            "cloud.launch", lambda: RetryLater("Throttling", after_seconds=17), times=2
        )

    done = Simulation(setup=throttled).run([assigned()], 400)
    assert done[0] == (46.0, "launch job=1 attempt=1")


def test_second_provider__of_other_address__is_none_of_ours() -> None:
    other = Address("0x5555555555555555555555555555555555555555")
    simulation = Simulation()
    assert simulation.run([assigned(provider=other)], 1000) == []
    assert simulation.events(1) == []


def test_image__staged_for_a_job_that_ended_while_the_journal_was_lost__is_swept() -> None:
    def ends(simulation: Simulation) -> None:
        machine(simulation).ends_at = simulation.clock.now()
        simulation.cloud.lengths.listed = 0

    simulation = Simulation()
    script = [
        assigned(escrow=2000),
        at(1000, lambda s: s.kill()),
        at(1001, lambda s: s.market.stop_by_user(ONE)),
        at(1100, ends),  # EC2 lists it no more
        at(1110, lambda s: s.start(lose_journal=True)),
    ]
    simulation.run(script, 2500)
    clean(simulation)


def test_image__in_use_by_a_host_or_a_job__is_not_swept() -> None:
    simulation = Simulation()
    script = [assigned(escrow=10**6), at(1000, lambda s: s.restart_in(5, lose_journal=True))]
    simulation.run(script, 8000)
    assert len(simulation.cloud.bucket) == 1
    assert simulation.weather.counted["mailbox.unstage"] == 0


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


def test_confirmation__given_before_the_end_was_asked_for__counts_for_nothing() -> None:
    jobs = [JobId(number) for number in range(1, 11)]

    def lies(simulation: Simulation) -> None:
        simulation.market.lies = lying  # type: ignore[assignment] # an empty map of any kind

    simulation = Simulation()
    script = [
        *(assigned(1, job) for job in jobs),
        at(400, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS, 1)),
        at(450, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS)),
        at(1000, lies),
        at(2000, lambda s: s.restart_in(5)),
    ]
    done = simulation.run(script, 5000)
    assert not [text for _, text in done if text.startswith("terminate")]


def test_confirmation__written_while_the_agent_was_down__counts_for_what_was_held() -> None:
    jobs = [JobId(number) for number in range(1, 11)]
    script = [
        *(assigned(1, job) for job in jobs),
        *(at(1000, lambda s, job=job: s.market.stop_by_user(job)) for job in jobs),  # type: ignore[misc] # bound
        at(2000, lambda s: s.kill()),
        at(2010, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS)),
        at(2020, lambda s: s.start()),
    ]
    done = Simulation().run(script, 2100)
    assert len([text for _, text in done if text.startswith("terminate")]) == 10
