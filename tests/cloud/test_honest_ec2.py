"""The adapter against an EC2 that keeps tokens, hides the young, loses replies and runs out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from agent.apply.rehearsals import Rehearsals
from agent.load.fleet import Fleet
from agent.market.model import Address, InstanceType
from agent.ports import Account
from cloud.aws import Aws
from cloud.ec2.reconcile import duplicates
from cloud.kinds import NoCapacity, NotSetUp, OutcomeUnknown, QuotaReached
from cloud.model import AttemptSpent, Instance, InstanceId, InstanceState
from devnet.aws.ec2 import Event, Timings
from devnet.aws.server import Aws as HonestAws
from tests.cloud.conftest import REGION, order, settings, user_data

pytestmark = pytest.mark.integration

QUICK = Timings().scaled(0.0)


class WallClock:
    """The simulation's own time."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


@pytest.fixture
def honest(monkeypatch: pytest.MonkeyPatch) -> Iterator[HonestAws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with HonestAws(QUICK) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        boto3.client("s3", region_name=REGION).create_bucket(Bucket=f"oyster-{REGION}")
        iam = boto3.client("iam", region_name=REGION)
        if not iam.list_roles()["Roles"]:  # moto's account outlives its server
            iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName="oyster-host")
            iam.add_role_to_instance_profile(
                InstanceProfileName="oyster-host", RoleName="oyster-host"
            )
            ec2 = boto3.client("ec2", region_name=REGION)
            vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
            ec2.create_security_group(GroupName="oyster-host", Description="h", VpcId=vpc)
        yield aws


@pytest.fixture
def make(honest: HonestAws, tmp_path: Path) -> Iterator[Callable[[str], Aws]]:
    made: list[Aws] = []

    def make(state: str) -> Aws:
        made.append(Aws(settings(tmp_path / state), user_data, WallClock()))
        return made[-1]

    yield make
    for aws in made:
        aws.close()


def _live(honest: HonestAws) -> int:
    return sum(record.state in (0, 16) for record in honest.ec2.records.values())


async def test_launch__replies_lost_and_restarted__one_instance(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    honest.ec2.faults.lose_replies["RunInstances"] = 3
    with pytest.raises(OutcomeUnknown):
        await make("same").launch(order())
    assert _live(honest) == 1
    instance = await make("same").launch(order())
    assert _live(honest) == 1
    assert instance.id in honest.ec2.records


async def test_launch__zone_opens_while_the_outcome_elsewhere_is_unknown__one_instance(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    probe = await make("probe").launch(order(99))
    await make("probe").terminate(REGION, [probe.id])
    honest.ec2.faults.errors["RunInstances"] = ["InsufficientInstanceCapacity"]
    honest.ec2.faults.lose_replies["RunInstances"] = 3
    with pytest.raises(OutcomeUnknown):
        await make("same").launch(order())
    await make("same").launch(order())
    assert _live(honest) == 1


async def test_launch__memory_lost_too__the_duplicate_is_found_and_the_oldest_stays(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    honest.ec2.faults.errors["RunInstances"] = ["InsufficientInstanceCapacity"]
    honest.ec2.faults.lose_replies["RunInstances"] = 3
    with pytest.raises(OutcomeUnknown):
        await make("one").launch(order())
    aws = make("another")
    await aws.launch(order())
    assert _live(honest) == 2
    (found,) = duplicates(await aws.instances(REGION))
    await aws.terminate(REGION, [one.id for one in found.go])
    assert [one.id for one in await aws.instances(REGION) if one.live] == [found.stays.id]


async def test_launch__attempt_ended__is_spent_and_the_next_one_launches(
    make: Callable[[str], Aws],
) -> None:
    aws = make("same")
    first = await aws.launch(order())
    await aws.terminate(REGION, [first.id])
    for _ in range(100):
        states = {one.id: one.state for one in await aws.instances(REGION)}
        if states.get(first.id) == InstanceState.TERMINATED:
            break
        await asyncio.sleep(0.02)
    with pytest.raises(AttemptSpent):
        await aws.launch(order())
    assert (await aws.launch(order(attempt=2))).id != first.id


async def test_launch__sold_out_then_quota__is_told_apart(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    honest.ec2.faults.sold_out = {("*", f"{REGION}{letter}") for letter in "abcdef"}
    with pytest.raises(NoCapacity):
        await make("same").launch(order())
    honest.ec2.faults.sold_out = set()
    honest.ec2.faults.vcpu_quota = 0
    with pytest.raises(QuotaReached):
        await make("other").launch(order())
    assert _live(honest) == 0


async def test_launch__many_at_once_under_throttling__each_once(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    honest.ec2.faults.throttle = True
    honest.ec2.faults.run_per_second = 20.0
    aws = make("same")
    await asyncio.gather(*(aws.launch(order(job, deadline=float(job))) for job in range(1, 11)))
    assert _live(honest) == 10


async def _until(aws: Aws, instance: InstanceId, state: InstanceState) -> Instance:
    for _ in range(200):
        listed = {one.id: one for one in await aws.instances(REGION)}
        if instance in listed and listed[instance].state is state:
            return listed[instance]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{instance} never was {state}")


async def test_listing__retirement_announced__is_told_with_its_time(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    launched = (await make("one").launch(order(21))).id
    await _until(make("two"), launched, InstanceState.RUNNING)
    at = float(int(time.time()) + 3600)
    honest.ec2.schedule(launched, Event("instance-retirement", at))
    honest.ec2.schedule(launched, Event("instance-reboot", at - 60))
    found = await _until(make("three"), launched, InstanceState.RUNNING)
    assert {event.code for event in found.events} == {"instance-retirement", "instance-reboot"}
    assert found.ending is not None
    assert found.ending.at == at
    assert found.ends_before(at + 1)
    assert not found.ends_before(at)


async def test_listing__dead_at_launch__is_told_in_ec2s_own_words(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    words = "Client.InternalError: Client error on launch"
    honest.ec2.faults.dead_on_launch = words
    launched = (await make("one").launch(order(22))).id
    assert (await _until(make("one"), launched, InstanceState.TERMINATED)).state_reason == words


async def test_launch__instance_profile_is_young__passes_with_the_same_token_later(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    honest.ec2.timings = replace(QUICK, profile=3600.0)
    honest.ec2.profile_changed("oyster-host")
    aws = make("one")
    with pytest.raises(NotSetUp, match="Invalid IAM Instance Profile name"):
        await aws.launch(order(23))
    honest.ec2.timings = QUICK
    assert (await aws.launch(order(23))).live


async def test_role__deleted_beside_a_running_agent__no_launch_is_believed_in_any_more(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    """IAM deletes no role that a profile has, so who deletes one takes it out of there first."""
    aws, clock, iam = make("a"), WallClock(), boto3.client("iam", region_name=REGION)
    fleet = Fleet(aws, aws.mailbox, clock, Account(31337, Address("0xC0FFEE"), Address("0xP0")))
    await fleet.look(REGION)
    kind = InstanceType(REGION, "c6a.xlarge")
    rehearsals = Rehearsals(aws, fleet, clock)
    await rehearsals.look([kind.text])
    assert await rehearsals.blocked(kind) == ("", False)
    both = {"InstanceProfileName": "oyster-host", "RoleName": "oyster-host"}
    iam.remove_role_from_instance_profile(**both)
    try:
        await rehearsals.look([kind.text])
        assert "no associated IAM Roles" in (await rehearsals.blocked(kind))[0]
    finally:
        iam.add_role_to_instance_profile(**both)


async def test_bucket__deleted_beside_a_running_agent__the_region_is_not_seen_and_says_why(
    honest: HonestAws, make: Callable[[str], Aws]
) -> None:
    aws, clock = make("a"), WallClock()
    fleet = Fleet(aws, aws.mailbox, clock, Account(31337, Address("0xC0FFEE"), Address("0xP0")))
    s3, bucket = boto3.client("s3", region_name=REGION), f"oyster-123456789012-{REGION}"
    s3.create_bucket(Bucket=bucket)
    await fleet.look(REGION)
    assert fleet.faults == {}
    s3.delete_bucket(Bucket=bucket)
    await fleet.look(REGION)
    assert isinstance(fleet.faults[REGION], NotSetUp)
