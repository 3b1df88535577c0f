"""A machine whose clock is wrong: documents are judged by AWS's, and no enclave is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.apply import hosts
from agent.apply.clock_by_aws import ClockByAws
from agent.decide.plan import Attest
from agent.ports import Clock, EnclaveEarly, Image
from cloud.model import Instance
from devnet.guest.nsm import SimulatedEnclave, SimulatedNsm
from enclave.attest.document import AttestationEarly, Expected, verify
from tests.agent.apply.test_init_params import _world, outside
from tests.agent.samples import IMAGE, INSTANCE, JOB
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

NSM = SimulatedNsm()
NOW = 1_800_000_000.0  # AWS's: its certificates have real dates


class Enclave:
    """Answers as real ones do, by AWS's time, and is judged by the clock that is given."""

    async def attest(self, instance: Instance, image: Image, *, clock: Clock, debug: bool) -> None:
        document = NSM.attest(SimulatedEnclave(instance.id, dict(image.pcrs)), now=NOW)
        expected = Expected(dict(image.pcrs), instance.id, max_age_seconds=300)
        try:
            verify(document, at=clock.now(), expected=expected, root=NSM.root_pem)
        except AttestationEarly as early:
            raise EnclaveEarly(str(early)) from None


@pytest.mark.parametrize("wrong", [-7200.0, -61.0, 0.0, 301.0, 7200.0])
@pytest.mark.parametrize("known", [True, False])
async def test_attest__by_a_wrong_clock__holds_once_aws_has_told_the_time(
    wrong: float, known: bool
) -> None:
    world, said = _world({})
    clock = ClockByAws(StandingClock(NOW + wrong), lambda: -wrong if known else None)
    world.clock, world.attester = clock, Enclave()
    image = replace(IMAGE, pcrs={number: f"a{number}" * 48 for number in range(3)})
    world.memory.known(JOB.id).image.image = image
    border: Any = outside  # one without a gate
    action: Any = Attest(JOB.id, INSTANCE, image, "run-1", None)
    await hosts.attest(world, action, border)
    (name,) = [one for one, _ in said]
    assert (name == "enclave.attested") == (known or not wrong), said
