"""Nodes that lie, APIs that answer nothing, and masses of ends: nobody is ended by mistake."""

from __future__ import annotations

import pytest

from agent.decide.termination_breaker import BreakerRules
from agent.decide.unconfirmed_launches import BurstRules
from agent.journal.orders import OrderKind
from agent.market.model import JobId
from devnet.simulation.world import Simulation, default_rules
from tests.agent.scripts.play import STARTED, assigned, at, clean, crowd, lies, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_node__that_answers_empty_for_all__terminates_nobody() -> None:
    jobs = crowd(10)

    def honest(simulation: Simulation) -> None:
        simulation.market.lies = None

    simulation = Simulation()
    script = [*(assigned(1, job) for job in jobs), at(1000, lies), at(5000, honest)]
    done = simulation.run(script, 6000)
    assert not [text for _, text in done if text.startswith("terminate")]
    assert "breaker.held" in simulation.events(1)


def test_node__that_lies__is_contradicted_by_the_second_endpoint() -> None:
    simulation = Simulation(with_witness=True)
    done = simulation.run([assigned(), at(1000, lies)], 6000)
    assert done == STARTED
    told = simulation.said(1, "endpoints.disagree")
    assert told.startswith("endpoints disagree about job 1: one says it is ours")


def test_mass_of_ends__true_and_confirmed_by_the_operator__is_carried_out() -> None:
    jobs = crowd(10)
    simulation = Simulation()
    script = [
        *(assigned(1, job) for job in jobs),
        *(stopped(1000, job) for job in jobs),
        at(3000, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS)),
    ]
    done = simulation.run(script, 4000)
    ends = [when for when, text in done if text.startswith("terminate")]
    assert len(ends) == 10
    assert all(3000 <= when <= 3010 for when in ends)
    clean(simulation)


def test_mass_of_ends__confirmed_by_the_second_endpoint__needs_no_operator() -> None:
    jobs = crowd(10)
    simulation = Simulation(with_witness=True)
    script = [
        *(assigned(1, job) for job in jobs),
        *(stopped(1000, job) for job in jobs),
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
        *(stopped(1000, job) for job in crowd(2)),
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

    done = simulation.run([assigned(), at(500, blind)], 6000)
    assert done[: len(STARTED)] == STARTED
    # Nothing could be launched there, so the listing goes; what runs is left alone.
    assert [text for _, text in done[len(STARTED) :]] == ["deregister", "register"]


def test_listing__that_comes_back_empty__buys_nothing() -> None:
    """An answer without instances is doubted for a while; the enclave still answers."""

    def vanish(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 10**9

    def seen(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 0

    simulation = Simulation()
    assert simulation.run([assigned(), at(500, vanish), at(590, seen)], 3000) == STARTED


def test_confirmation__given_before_the_end_was_asked_for__counts_for_nothing() -> None:
    jobs = crowd(10)

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
    jobs = crowd(10)
    script = [
        *(assigned(1, job) for job in jobs),
        *(stopped(1000, job) for job in jobs),
        at(2000, lambda s: s.kill()),
        at(2010, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS)),
        at(2020, lambda s: s.start()),
    ]
    done = Simulation().run(script, 2100)
    assert len([text for _, text in done if text.startswith("terminate")]) == 10


def silent(simulation: Simulation) -> None:
    """The second endpoint says nothing any more."""
    simulation.weather.fail("witness.read")


def test_end__that_one_of_two_tells_while_the_other_is_silent__waits_for_a_person() -> None:
    simulation = Simulation(with_witness=True)
    confirm = at(90_000, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS))
    script = [assigned(), at(500, silent), stopped(1000), confirm]
    done = simulation.run(script, 91_000)
    ends = [when for when, text in done if text.startswith("terminate")]
    assert len(ends) == 1
    assert ends[0] >= 90_000
    assert "one RPC endpoint alone says so" in simulation.said(1, "breaker.held")
    clean(simulation)


def test_end__that_was_long_ago_by_one_endpoint_after_a_restart__is_not_believed_at_once() -> None:
    """What it says of times is its word, too: silence counts from when the other was asked."""

    def lie(simulation: Simulation) -> None:
        simulation.restart_in(1)
        lies(simulation)

    simulation = Simulation(with_witness=True)
    done = simulation.run([assigned(), at(500, silent), at(10_000, lie)], 20_000)
    assert not [text for _, text in done if text.startswith("terminate")]


@pytest.mark.parametrize("count", [40, 100])
def test_crowd__that_one_of_two_endpoints_denies__is_started_in_rounds_that_double(
    count: int,
) -> None:
    def deny(simulation: Simulation) -> None:
        assert simulation.witness is not None
        simulation.witness.lies = lambda jobs: {}

    jobs = crowd(count)
    simulation = Simulation(with_witness=True)
    done = simulation.run([at(0.5, deny), *(assigned(1, job) for job in jobs)], 600)
    started = [when for when, text in done if text.startswith("reportStarted")]
    assert len(started) == count
    launches = [when for when, text in done if text.startswith("launch")]
    assert sum(when < 40 for when in launches) == BurstRules().unconfirmed


def test_crowd__denied_as_those_were_that_were_started__is_started_after_a_restart_too() -> None:
    """What was reported before it is known from the journal to be no invention, though two never
    told of it alike."""

    def deny(simulation: Simulation) -> None:
        assert simulation.witness is not None
        simulation.witness.lies = lambda jobs: {}

    before, after = crowd(60)[:30], crowd(60)[30:]
    script = [
        at(0.5, deny),
        *(assigned(1, job) for job in before),
        at(400, lambda s: s.restart_in(1)),
        *(assigned(450, job) for job in after),
    ]
    simulation = Simulation(with_witness=True)
    done = simulation.run(script, 1050)
    assert len([text for _, text in done if text.startswith("reportStarted")]) == 60
    assert sum(when < 500 for when, text in done if text.startswith("launch")) == 60


@pytest.mark.parametrize("told_before", [False, True])
def test_crowd__denied_after_the_journal_was_lost__leaves_places_for_new_jobs(
    told_before: bool,
) -> None:
    """The journal has no reports of those that run: when one denies all of them after another
    restart, at once or after both told of each, they take no place of the new ones."""

    def loses(simulation: Simulation) -> None:
        if not told_before:
            denies(simulation)
        simulation.restart_in(1, lose_journal=True)

    def denies(simulation: Simulation) -> None:
        assert simulation.witness is not None
        simulation.witness.lies = lambda jobs: {}

    def denies_now(simulation: Simulation) -> None:
        denies(simulation)
        simulation.restart_in(1)

    before, after = crowd(38)[:30], crowd(38)[30:]
    script = [
        *(assigned(1, job) for job in before),
        at(400, loses),
        at(440, denies_now),
        *(assigned(450, job) for job in after),
    ]
    simulation = Simulation(with_witness=True)
    done = simulation.run(script, 1050)
    assert sum(440 < when < 470 for when, text in done if text.startswith("launch")) == 8
    assert simulation.events(before[0]).count("job.confirmed") == told_before
    assert simulation.events(after[0]).count("job.confirmed") == 0


def test_observer__blind_from_its_start_on__ends_nobody_whom_it_found_serving() -> None:
    jobs = crowd(10)
    script = [
        *(assigned(1, job) for job in jobs),
        at(1000, lambda s: s.restart_in(20.0)),
        at(1001, lambda s: s.weather.fail("attest")),
        at(1230, lambda s: s.weather.fits.clear()),
    ]
    simulation = Simulation()
    done = simulation.run(script, 2500)
    after = [text for when, text in done if when > 1000]
    assert not [text for text in after if text.startswith(("terminate", "order", "launch"))]
    assert simulation.events(1).count("job.doubted") >= 1
