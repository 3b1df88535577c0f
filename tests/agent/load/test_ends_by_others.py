"""Instances that the host which led before ended: no sign of anything for who takes over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.load.fleet import Fleet
from agent.load.launch_trouble import DEATHS
from agent.market.model import InstanceType
from cloud.model import Instance, InstanceId, InstanceState, Region
from enclave.host.documents import Status
from tests.agent.load.test_fleet_reports import Mail, Nothing
from tests.agent.samples import ACCOUNT, HOME, INSTANCE, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

KIND = InstanceType(HOME, INSTANCE.instance_type)
BY_REQUEST = "Client.UserInitiatedShutdown: User initiated shutdown"
# EC2 API reference, "StateReason".
REASONS = (
    BY_REQUEST, "Client.UserInitiatedHibernate: Hibernate initiated by user", None,
    "Client.InternalError: Client error on launch", "Server.InternalError: Internal error",
    "Server.InsufficientInstanceCapacity: no capacity", "Server.SpotInstanceTermination: spot",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)  # fmt: skip


class Listing(Nothing):
    """What EC2 lists, as a test puts it there."""

    def __init__(self) -> None:
        self.there: list[Instance] = []

    async def instances(self, region: Region) -> Sequence[Instance]:
        return self.there


class World:
    """A fleet over a listing; its process began at NOW."""

    def __init__(self, began: float = NOW) -> None:
        self.clock, self.cloud, self.mail = StandingClock(began), Listing(), Mail({})
        self.fleet = Fleet(self.cloud, self.mail, self.clock, ACCOUNT)

    async def look(self) -> None:
        self.clock.at += 5
        await self.fleet.list_region(HOME)

    def trouble(self) -> bool:
        return self.fleet.trouble.of(KIND, self.clock.now()) is not None


def instances(launched_at: float) -> list[Instance]:
    """As many as are no chance."""
    return [
        replace(INSTANCE, id=InstanceId(f"i-{n}"), launched_at=launched_at) for n in range(DEATHS)
    ]


def ended(one: Instance, reason: str | None) -> Instance:
    return replace(one, state=InstanceState.SHUTTING_DOWN, state_reason=reason)


@given(here=st.booleans(), alive=st.booleans(), ran=st.booleans(), reason=st.sampled_from(REASONS))
@example(here=False, alive=False, ran=False, reason=BY_REQUEST)  # took an offer off the market
@example(here=False, alive=True, ran=False, reason=BY_REQUEST)
async def test_ends__whoever_asked_for_them__are_trouble_only_where_nobody_of_ours_did(
    here: bool, alive: bool, ran: bool, reason: str | None
) -> None:
    world = World()
    ours = instances(world.clock.now() + 1)
    for one in ours:
        if here:
            world.fleet.add(one)
    if alive:
        world.cloud.there = list(ours)
        await world.look()
    if ran:
        for one in ours:
            if (record := world.fleet.record(one.id)) is not None:
                record.status = Status("running", "g1a1r0", NOW, "p", one.id, {"running": NOW})
    world.cloud.there = [ended(one, reason) for one in ours]
    await world.look()
    by_request = world.cloud.there[0].ended_by_request
    assert by_request == (reason in REASONS[:2])
    served = ran and (here or alive)
    assert world.trouble() == (not served and (here or not by_request))
    for host in world.fleet.hosts(ours[0].identity.job):  # type: ignore[arg-type] # a job's number
        assert host.ended_by_others == (by_request and not here)


async def test_standby__what_it_saw_while_another_led__is_no_sign_once_it_leads() -> None:
    world = World()
    world.clock.at += 3600
    world.mail.document = {"words": "of a host that EC2 lists no more"}
    await world.fleet.read_reports(HOME)
    assert world.fleet.strangers()
    world.fleet.begin_anew()
    assert not world.fleet.strangers()
    dead = [ended(one, "Client.InternalError: x") for one in instances(NOW + 20)]
    world.cloud.there = dead  # launched, and met, by the one before
    await world.look()
    assert not world.trouble()
