"""Users who did harm before are remembered, where the operator set a limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.load.owners import DAY_SECONDS, Owners
from agent.market.model import Address, JobId
from devnet.simulation.contract import TERMS
from devnet.simulation.names import USER
from devnet.simulation.world import Simulation, default_rules
from tests.agent.scripts.play import assigned, at, clean, crowd, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

ONE, TWO, THREE = crowd(3)


def limited(*, per_owner: int = 0, wasted: int = 0) -> Simulation:
    def setup(simulation: Simulation) -> None:
        simulation.market.terms_ = replace(TERMS, job_exit_cool_down=60)

    rules = default_rules()
    policy = replace(rules.lifecycle.policy, per_owner=per_owner, wasted_per_owner=wasted)
    rules.lifecycle = replace(rules.lifecycle, policy=policy)
    return Simulation(rules=rules, setup=setup)


def test_jobs__of_one_user_at_once__are_refused_beyond_the_limit() -> None:
    simulation = limited(per_owner=1)
    simulation.run([assigned(1, ONE), assigned(60, TWO)], 400)
    assert simulation.said(2, "job.refused").startswith("crowd")
    assert "job.refused" not in simulation.events(1)


def test_jobs__one_after_the_other__are_served() -> None:
    simulation = limited(per_owner=1)
    simulation.run([assigned(1, ONE), stopped(200, ONE), assigned(1500, TWO)], 2000)
    assert "job.refused" not in simulation.events(2)


def test_launches__stopped_again_and_again_while_they_come_up__are_refused() -> None:
    simulation = limited(wasted=2)
    script = [
        assigned(1, ONE), stopped(20, ONE), assigned(600, TWO), stopped(620, TWO),
        at(1200, lambda s: s.restart_in(5.0)), assigned(1300, THREE),
    ]  # fmt: skip
    simulation.run(script, 1800)
    assert simulation.said(1, "job.wasted") == USER
    assert simulation.said(3, "job.refused").startswith("waste")
    clean(simulation)


def test_limits__by_default__there_are_none() -> None:
    simulation = Simulation()
    simulation.run([assigned(1, job) for job in crowd(20)], 600)
    assert not [job for job in crowd(20) if "job.refused" in simulation.events(job)]


def test_owners__spelt_differently__are_the_same() -> None:
    owners, upper = Owners(), Address("0xABCDEF" + "00" * 17)
    owners.serves(upper, JobId(1))
    owners.wasted(upper, 100.0)
    lower = Address(upper.lower())
    assert (owners.others(lower, JobId(2)), owners.others(lower, JobId(1))) == (1, 0)
    assert owners.wasted_today(lower, 100.0) == 1
    assert owners.wasted_today(lower, 100.0 + DAY_SECONDS) == 0
    owners.done(lower, JobId(1))
    assert owners.others(lower, JobId(2)) == 0
