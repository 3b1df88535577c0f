"""An end that is ordered asks the gate again when its turn at EC2 comes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply.context import Outside
from agent.apply.instances import terminate
from agent.decide.plan import Terminate
from agent.market.model import JobId
from tests.agent.apply.test_sweep import Held
from tests.agent.samples import HOME, INSTANCE

pytestmark = pytest.mark.unit


async def test_terminate__its_host_was_cut_off_while_it_waited__is_wanted_no_more() -> None:
    lease, asked = Held(opened=True), list[bool]()

    class Ec2:
        async def terminate(self, _region: str, _ids: object, wanted: Callable[[], bool]) -> None:
            asked.append(wanted())
            lease.opened = False  # cut off
            asked.append(wanted())

    async def announced() -> None:
        """The journal has it."""

    world: Any = SimpleNamespace(
        cloud=Ec2(), lease=lease, fleet=SimpleNamespace(record=lambda name: None),
        journal=SimpleNamespace(announced=announced), say=lambda *said, **fields: None,
        fails=lambda *tried, **fields: False,
    )  # fmt: skip
    action = Terminate(JobId(1), HOME, (INSTANCE.id,), "it is dead", by_chain=False)
    await terminate(world, action, Outside("terminate", lambda when, name: None, lease))
    assert asked == [True, False]
