"""Jobs that keep dying: replaced, and left once waiting in the dark is the worse risk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devnet.simulation.contract import TERMS
from devnet.simulation.world import Simulation
from enclave.eif.signature import Signer
from tests.agent.scripts.play import ONE, assigned, at, clean, stopped

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

LIVES_SECONDS = 400.0  # of each instance once it is launched
HOUR = 3600


def with_cool_down(seconds: int) -> Simulation:
    def setup(simulation: Simulation) -> None:
        simulation.market.terms_ = replace(TERMS, job_exit_cool_down=seconds)

    return Simulation(setup=setup)


def die_young(simulation: Simulation) -> None:
    """Every instance ends some minutes after its launch, whatever runs on it."""
    for one in simulation.cloud.machines.values():
        one.ends_at = min(one.ends_at, one.launched_at + LIVES_SECONDS)


DYING = [at(second, die_young) for second in range(20, 4 * HOUR, 20)]


@pytest.mark.parametrize(("cool_down", "instances"), [(60, 3), (900, 4), (HOUR, 4)])
def test_job__whose_instances_die__is_left_once_staying_is_the_worse_risk(
    cool_down: int, instances: int
) -> None:
    simulation = with_cool_down(cool_down)
    done = simulation.run([assigned(), *DYING], 4 * HOUR)
    texts = [text for _, text in done]
    before = texts[: texts.index("requestToExitJob job=1")]
    assert len([text for text in before if text.startswith("launch")]) == instances
    assert f"{instances} instances of it died" in simulation.said(1, "job.left")
    assert "finalizeExit job=1" in texts
    clean(simulation)


def test_job__whose_instances_died_twice__is_kept() -> None:
    simulation = with_cool_down(60)
    early = [at(second, die_young) for second in (20, 600)]
    done = simulation.run([assigned(), *early], 3000)
    assert "requestToExitJob job=1" not in [text for _, text in done]


def expiring(seconds: float) -> Simulation:
    """The image's signing certificate ends so long after the start of the script."""

    def setup(simulation: Simulation) -> None:
        until = simulation.clock.now() + seconds
        simulation.images.signer = Signer("CN=user", "secp384r1", "00" * 32, 0.0, until)

    return Simulation(setup=setup)


def test_job__whose_signer_ends_next_week__is_left_in_time_and_served_till_then() -> None:
    simulation = expiring(6 * HOUR)
    done = simulation.run([assigned()], 7 * HOUR)
    asked = next(when for when, text in done if text == "requestToExitJob job=1")
    assert asked + TERMS.job_exit_cool_down <= 6 * HOUR
    assert asked >= 6 * HOUR - TERMS.job_exit_cool_down - 2 * HOUR
    assert "signing certificate ends" in simulation.said(1, "job.left")


def test_job__whose_signer_lasts_longer__is_kept() -> None:
    simulation = expiring(48 * HOUR)
    done = simulation.run([assigned(1, ONE, escrow=10**6), stopped(7 * HOUR)], 8 * HOUR)
    assert "requestToExitJob job=1" not in [text for _, text in done]
