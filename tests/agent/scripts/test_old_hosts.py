"""Hosts whose program is too old for what is to be ordered: replaced then, and not before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.decide.host_orders import EnclaveRules, PacketRules
from devnet.simulation.world import Simulation
from tests.agent.scripts.play import BOUGHT, STARTED, assigned, at, machine

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

REPLACED = [
    "launch job=1 attempt=2", "order job=1 run=g1a2r0", "terminate job=1 01",
]  # fmt: skip


def _old(simulation: Simulation) -> None:
    machine(simulation).knows = 1


def _upgrade(simulation: Simulation) -> None:
    """The agent is started anew, and what it orders from now on is of schema 2."""
    enclave = EnclaveRules(packets=PacketRules())
    simulation.rules.lifecycle = replace(simulation.rules.lifecycle, enclave=enclave)
    simulation.restart_in(1)


def _dies(simulation: Simulation) -> None:
    machine(simulation).enclave_dies_at = simulation.clock.now()


def test_upgrade__of_the_agent_beside_a_host_of_schema_1__touches_nothing_that_runs() -> None:
    script = [assigned(), at(13, _old), at(1000, _upgrade)]
    assert Simulation().run(script, 5000) == STARTED


def test_enclave__dead_on_a_host_of_schema_1__is_replaced_and_not_restarted() -> None:
    simulation = Simulation()
    script = [assigned(), at(13, _old), at(1000, _upgrade), at(2000, _dies)]
    done = simulation.run(script, 4000)
    assert [text for _, text in done[3:]] == REPLACED
    assert "too old" in simulation.said(1, "job.replaced")
    assert simulation.cloud.live() == 1


def test_host__of_schema_1_that_booted_meanwhile__refuses_aloud_and_another_serves_in_time() -> (
    None
):
    simulation = Simulation()
    script = [assigned(), at(13, _old), at(14, _upgrade)]
    done = simulation.run(script, 2000)
    assert done[:1] == BOUGHT[:1]
    texts = [text for _, text in done]
    assert texts.count("launch job=1 attempt=2") == 1
    assert texts.index("reportStarted job=1") < texts.index("terminate job=1 01")
    assert machine(simulation).refused == "desired.json is refused: schema: 2"
    assert simulation.cloud.live() == 1


def test_host__of_this_program__gets_the_orders_after_an_upgrade() -> None:
    script = [assigned(), at(1000, _upgrade), at(2000, _dies)]
    done = Simulation().run(script, 4000)
    assert [text for _, text in done[3:]] == ["order job=1 run=g1a1r1"]
