"""How jobs end: stopped, dry, slashed, undone, left; what is earned, and that nothing remains."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.decide.listings import OfferRules
from agent.journal.orders import OrderKind
from cloud.request_budget import Budget
from devnet.simulation.names import OTHER
from devnet.simulation.world import Simulation, default_rules
from tests.agent.scripts.play import (
    BOUGHT,
    ONE,
    STARTED,
    assigned,
    at,
    clean,
    crowd,
    machine,
    stopped,
)

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_job__funded_for_a_while__runs_dry_and_leaves_nothing() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(escrow=2000)], 4000)
    assert done == [
        *STARTED,
        (2052.0, "settle job=1"),  # started in block 48, dry at 2048: the block of 2052 says so
        (2115.0, "terminate job=1 01"),  # five blocks later it is final
    ]
    assert (simulation.market.earned, simulation.market.refunded) == (2000, 0)
    assert simulation.events(1)[-1] == "job.ended"
    clean(simulation)


def test_job__stopped_by_its_user__ends_when_that_is_final() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), stopped(1000)], 3000)
    assert [text for _, text in done[3:]] == ["terminate job=1 01"]
    second = done[-1][0]
    assert second >= 1008 + 5 * 12  # the block of the stop, and five on it
    assert second <= 1008 + 5 * 12 + 6
    clean(simulation)


def test_job__stopped_while_it_boots__is_taken_down_and_never_reported() -> None:
    simulation = Simulation()
    done = simulation.run([assigned(), stopped(20)], 2000)
    assert done[:2] == BOUGHT
    assert [text for _, text in done[2:]] == ["terminate job=1 01"]
    clean(simulation)


def test_crowd__stopped_while_launches_wait_for_their_turn__buys_no_more() -> None:
    simulation = Simulation(with_witness=True)  # who confirms that so many end at once

    def ec2_takes_two_a_second(s: Simulation) -> None:
        s.cloud.budget = Budget(s.clock)

    block = [assigned(job=job) for job in crowd(40)]
    leave = [stopped(13, job) for job in crowd(40)]
    script = [at(0, ec2_takes_two_a_second), *block, *leave]
    done = simulation.run(script, 2000)
    launched = [second for second, text in done if text.startswith("launch")]
    assert 5 < len(launched) < 35  # five at once, two a second until the stop is in a block
    assert max(launched) <= 24.5
    assert all(simulation.events(job)[-1] == "job.ended" for job in crowd(40))
    clean(simulation)


def test_job__topped_up_before_the_dry_second__runs_on() -> None:
    simulation = Simulation()
    script = [assigned(escrow=2000), at(1500, lambda s: s.market.fund(ONE, 1000))]
    done = simulation.run(script, 6000)
    assert done[3][1] == "settle job=1"
    assert 3048 <= done[3][0] <= 3070
    assert simulation.market.earned == 3000
    clean(simulation)


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
    jobs = crowd(5)
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


def test_settlement__of_a_long_job__comes_as_often_as_configured() -> None:
    rules = default_rules()
    ending = replace(rules.lifecycle.ending, settle_every_seconds=3600.0)
    rules.lifecycle = replace(rules.lifecycle, ending=ending)
    simulation = Simulation(rules=rules)
    done = simulation.run([assigned(escrow=10**6)], 3 * 3600)
    assert [text for _, text in done[3:]] == ["settle job=1", "settle job=1"]
    assert simulation.market.earned == pytest.approx(2 * 3600, abs=60)


def test_settlement__not_worth_its_gas__waits_until_it_is_or_the_job_ends() -> None:
    rules = default_rules()
    ending = replace(rules.lifecycle.ending, settle_every_seconds=3600.0, settle_least=10_000)
    rules.lifecycle = replace(rules.lifecycle, ending=ending)
    simulation = Simulation(rules=rules)
    done = simulation.run([assigned(escrow=14_000)], 5 * 3600)
    (first, *_), last = [entry for entry in done if entry[1] == "settle job=1"], done[-1]
    assert 10_000 <= first[0] <= 10_000 + 2 * 1800
    assert simulation.market.earned == 14_000, "the end pays what was left"
    assert last[0] > first[0]


def test_image__staged_for_a_job_that_ended_while_the_journal_was_lost__is_swept() -> None:
    def ends(simulation: Simulation) -> None:
        machine(simulation).ends_at = simulation.clock.now()
        simulation.cloud.lengths.listed = 0

    simulation = Simulation()
    script = [
        assigned(escrow=2000),
        at(1000, lambda s: s.kill()),
        stopped(1001),
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


def test_bucket__shared_with_another_agent__nothing_that_may_be_its_own_is_deleted() -> None:
    def ends(simulation: Simulation) -> None:
        machine(simulation).ends_at = simulation.clock.now()
        simulation.cloud.lengths.listed = 0

    def share(simulation: Simulation) -> None:
        simulation.cloud.shared = True

    simulation = Simulation()
    script = [
        at(0, share),
        assigned(escrow=2000),
        at(1000, lambda s: s.kill()),
        stopped(1001),
        at(1100, ends),
        at(1110, lambda s: s.start(lose_journal=True)),
    ]
    simulation.run(script, 2500)
    assert len(simulation.cloud.bucket) == 1
    assert len(simulation.cloud.mail) == 1
    assert simulation.weather.counted["mailbox.unstage"] == 0
    assert simulation.weather.counted["mailbox.forget"] == 0


def test_instance__that_ec2_says_it_ends_and_does_not__is_asked_for_more_and_more_rarely() -> None:
    asked, told = list[float](), list[Mapping[str, int]]()

    def deafen(simulation: Simulation) -> None:
        async def deaf(*_: Any) -> None:
            asked.append(simulation.clock.now())

        setattr(simulation.cloud, "terminate", deaf)  # noqa: B010 - mypy refuses a method's

    def mend(simulation: Simulation) -> None:
        told.append(simulation.state.world.fleet.unended())
        del simulation.cloud.terminate

    simulation = Simulation(setup=deafen)
    simulation.run([assigned(), stopped(1100), at(1900, mend)], 2100)
    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses == sorted(pauses)
    assert 5 <= len(asked) <= 20, "for more than ten minutes"
    assert [list(one.values()) for one in told] == [[len(asked)]]
    assert simulation.events(1).count("instance.not_ending") >= len(asked) - 1
    clean(simulation)
