"""Jobs that are not wanted: left where that is in time, served where leaving costs the stake."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from agent.decide.refusal import WEIGHTS
from agent.journal.orders import OrderKind
from agent.market.model import JobId
from devnet.simulation.contract import TERMS
from devnet.simulation.world import Simulation, default_rules
from tests.agent.scripts.play import ONE, assigned, at, clean, crowd

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

BY_ONE = "by what one RPC endpoint alone tells"
MIN_ESCROW = 10_000.0  # seconds
POOR: dict[str, object] = {"escrow": 8_000}  # it lasts longer than any cool-down here
NONSENSE: dict[str, object] = {"instance_type": "nonsense"}


def with_cool_down(seconds: int) -> Simulation:
    """Bootstrapping takes 600 s."""

    def setup(simulation: Simulation) -> None:
        simulation.market.terms_ = replace(TERMS, job_exit_cool_down=seconds)

    rules = default_rules()
    policy = replace(rules.lifecycle.policy, min_escrow_seconds=MIN_ESCROW)
    rules.lifecycle = replace(rules.lifecycle, policy=policy)
    return Simulation(rules=rules, setup=setup)


@pytest.mark.parametrize(("change", "rule"), [(POOR, "escrow"), (NONSENSE, "type")])
def test_job__against_the_policy_and_the_exit_in_time__costs_nothing_and_is_left(
    change: dict[str, object], rule: str
) -> None:
    simulation = with_cool_down(300)
    done = simulation.run([assigned(1, ONE, **change)], 1000)
    assert [text for _, text in done] == ["requestToExitJob job=1", "finalizeExit job=1"]
    assert simulation.cloud.machines == {}
    assert simulation.said(1, "job.refused").startswith(rule)
    assert "job.refused_at_a_price" not in simulation.events(1)


def test_job__that_only_costs_money_and_the_exit_too_late__is_served_and_left_once_up() -> None:
    simulation = with_cool_down(3600)
    done = [text for _, text in simulation.run([assigned(1, ONE, **POOR)], 5000)]
    assert done[0] == "launch job=1 attempt=1"
    assert done.index("reportStarted job=1") < done.index("requestToExitJob job=1")
    assert simulation.said(1, "job.served_at_a_loss").startswith("escrow")
    assert "job.refused" not in simulation.events(1)
    clean(simulation)


def _leave(job: JobId, simulation: Simulation) -> None:
    simulation.order(OrderKind.EXIT, job)


@pytest.mark.parametrize("witness", [False, True])
def test_jobs__many_that_run_are_to_be_left_at_once__one_endpoint_s_word_waits_for_a_person(
    witness: bool,
) -> None:
    jobs = crowd(6)
    simulation = with_cool_down(3600)
    simulation.with_witness = witness
    script = [assigned(1, job, **POOR) for job in jobs]
    confirmed = at(1000, lambda s: s.order(OrderKind.CONFIRM_TERMINATIONS))
    done = simulation.run([*script, confirmed], 1500)
    exits = [when for when, text in done if text.startswith("requestToExitJob")]
    assert len(exits) == len(jobs)
    assert all(when < 200 for when in exits) is witness
    assert all(when >= 1000 for when in exits) is not witness
    told = simulation.said(1, "breaker.held")
    assert told == ("" if witness else f"many jobs are to be left at once, {BY_ONE}")


def test_jobs__many_are_ordered_to_be_left__no_endpoint_s_word_is_in_it() -> None:
    jobs = crowd(6)
    simulation = with_cool_down(3600)
    script = [assigned(1, job) for job in jobs]
    orders = [at(500, partial(_leave, job)) for job in jobs]
    done = [text for _, text in simulation.run([*script, *orders], 700)]
    assert len([text for text in done if text.startswith("requestToExitJob")]) == len(jobs)


@pytest.mark.parametrize("escrow", [1, 599])
def test_job__whose_escrow_is_too_small__is_started_and_ends_dry(escrow: int) -> None:
    simulation = with_cool_down(3600)
    done = [text for _, text in simulation.run([assigned(1, ONE, escrow=escrow)], 3000)]
    assert "reportStarted job=1" in done
    assert "requestToExitJob job=1" not in done  # it ends by itself before an exit would
    assert simulation.said(1, "job.served_at_a_loss").startswith("escrow")
    clean(simulation)


def test_job__that_was_poor_and_is_funded_once_it_is_up__is_kept() -> None:
    simulation = with_cool_down(3600)
    script = [assigned(1, ONE, escrow=500), at(30, lambda s: s.market.fund(ONE, 50_000))]
    done = [text for _, text in simulation.run(script, 2000)]
    assert "reportStarted job=1" in done
    assert "requestToExitJob job=1" not in done


def test_job__that_was_poor_is_kept__though_part_of_what_it_was_funded_with_is_paid_already() -> (
    None
):
    simulation = with_cool_down(3600)
    script = [
        assigned(1, ONE, escrow=500),
        at(85, lambda s: s.market.fund(ONE, int(MIN_ESCROW) - 480)),
    ]
    done = [text for _, text in simulation.run(script, 2000)]
    assert "reportStarted job=1" in done
    assert "requestToExitJob job=1" not in done


def test_job__served_at_a_loss_and_the_agent_restarted__is_left_all_the_same() -> None:
    simulation = with_cool_down(3600)
    script = [assigned(1, ONE, **POOR), at(25, lambda s: s.restart_in(3.0))]
    done = [text for _, text in simulation.run(script, 1500)]
    assert done.index("reportStarted job=1") < done.index("requestToExitJob job=1")


def test_job__that_can_t_be_served_and_the_exit_too_late__is_refused_with_its_price() -> None:
    simulation = with_cool_down(3600)
    done = simulation.run([assigned(1, ONE, **NONSENSE)], 4600)
    assert [text for _, text in done] == ["requestToExitJob job=1", "finalizeExit job=1"]
    assert simulation.said(1, "job.refused").startswith("type")
    assert "stake can be slashed" in simulation.said(1, "job.refused_at_a_price")


def test_weights__each_rule__says_why() -> None:
    assert all(why for _, why in WEIGHTS.values())
