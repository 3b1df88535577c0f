"""A host that can't know whether it leads sweeps nothing: what it knows may be old."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply.params import sweep_params
from agent.apply.sweep import renew_orders, sweep_images, sweep_mailboxes
from agent.journal.hosts import Alone
from agent.load.remembered import Memory
from cloud.model import InstanceId, Region
from tests.agent.samples import HOME
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

GRACE_SECONDS, NOW = 600.0, 10_000.0


class Held(Alone):
    """A lease whose gate a test opens and shuts."""

    def __init__(self, *, opened: bool) -> None:
        self.opened = opened

    def held(self) -> bool:
        return self.opened


class Bucket:
    """Holds what is old and nobody's; notes what is changed."""

    def __init__(self) -> None:
        self.changed: list[str] = []

    async def alone(self, _region: Region) -> bool:
        return True

    async def staged(self, _region: Region) -> dict[str, float]:
        return {"image": 0.0}

    async def staged_params(self, _region: Region) -> dict[str, float]:
        return {"params": 0.0}

    async def forget(self, _region: Region, instance: InstanceId) -> None:
        self.changed.append(instance)

    async def renew(self, _region: Region) -> list[InstanceId]:
        self.changed.append("orders")
        return []

    async def unstage(self, _region: Region, sha256: str) -> None:
        self.changed.append(sha256)

    async def unstage_params(self, _region: Region, sha256: str, _used: object) -> bool:
        self.changed.append(sha256)
        return True


@pytest.mark.parametrize("held", [True, False])
async def test_sweep__of_all_kinds__changes_what_it_does_while_this_host_leads(held: bool) -> None:
    bucket = Bucket()
    strangers = {InstanceId("i-1"): (HOME, 0.0)}
    fleet = SimpleNamespace(
        strangers=lambda: strangers, records=tuple, hosts=lambda job: (), forget=strangers.pop
    )
    world: Any = SimpleNamespace(
        memory=Memory(), mailbox=bucket, fleet=fleet, clock=StandingClock(NOW),
        lease=Held(opened=held),
    )  # fmt: skip
    await sweep_mailboxes(world, GRACE_SECONDS)
    await renew_orders(world, [HOME])
    await sweep_images(world, [HOME], GRACE_SECONDS)
    await sweep_params(world, [HOME], GRACE_SECONDS)
    assert bucket.changed == (["i-1", "orders", "image", "params"] if held else [])
    assert bool(strangers) != held
