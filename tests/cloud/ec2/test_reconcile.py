"""Duplicates and addresses: the pure decisions, and addresses on moto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.aws import Aws
from cloud.ec2 import addresses
from cloud.ec2.addresses import Address, job_of, plan
from cloud.ec2.reconcile import duplicates
from cloud.model import Identity, Instance, InstanceId, InstanceState, Zone
from tests.cloud.conftest import OWNER, REGION, FakeClock, Faults, answer, order

pytestmark = pytest.mark.unit


def _instance(number: int, job: int, attempt: int, state: InstanceState, at: float) -> Instance:
    return Instance(
        id=InstanceId(f"i-{number:04x}"),
        region=REGION,
        zone=Zone("us-east-1a"),
        instance_type="c6a.xlarge",
        state=state,
        identity=Identity(OWNER.chain_id, OWNER.contract, OWNER.provider, job, 1, attempt),
        launched_at=at,
    )


FLEETS = st.lists(
    st.builds(
        _instance,
        st.integers(0, 9999),
        st.integers(1, 3),
        st.integers(1, 2),
        st.sampled_from(InstanceState),
        st.floats(0, 100),
    ),
    max_size=12,
    unique_by=lambda one: one.id,
)


@given(FLEETS, st.randoms())
def test_duplicates__any_fleet__one_live_instance_an_attempt_stays_whoever_decides(
    fleet: list[Instance], random: object
) -> None:
    found = duplicates(fleet)
    going = {one.id for group in found for one in group.go}
    left = [one.identity for one in fleet if one.live and one.id not in going]
    assert len(left) == len(set(left)) == len({one.identity for one in fleet if one.live})
    assert all(group.stays.launched_at <= one.launched_at for group in found for one in group.go)
    again = {one.id for group in duplicates(fleet[::-1]) for one in group.go}
    assert again == going


ADDRESSES = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 4), st.integers(0, 9999) | st.none()),
    max_size=8,
    unique_by=lambda one: one[0],
)


@given(FLEETS, ADDRESSES)
def test_addresses__any_state__never_taken_from_the_living(
    fleet: list[Instance], held: list[tuple[int, int, int | None]]
) -> None:
    some = [_address(*one) for one in held]
    jobs = frozenset(job_of(one.identity) for one in some)
    busy = {job_of(one.identity) for one in fleet if one.live}
    moves = plan(fleet, some, jobs - busy)
    live = {one.id for one in fleet if one.live}
    assert not {one.instance for one in moves.release} & live
    assert not {one.instance for one, _ in moves.associate} & live
    assert {job_of(one) for one in moves.allocate} == busy - jobs
    kept = [one for one in some if one not in moves.release]
    assert {job_of(one.identity) for one in kept} >= busy & jobs


def _address(number: int, job: int, instance: int | None) -> Address:
    identity = _instance(0, job, 1, InstanceState.RUNNING, 0).identity
    holder = None if instance is None else InstanceId(f"i-{instance:04x}")
    association = None if holder is None else f"assoc-{number}"
    return Address(f"alloc-{number:02}", f"192.0.2.{number}", identity, association, holder)


async def test_elastic_ip__life_of_a_job__allocated_kept_and_given_back(
    make_aws: Callable[..., Aws], clock: FakeClock
) -> None:
    aws = make_aws(elastic_ips=True)
    ec2 = boto3.client("ec2", region_name=REGION)
    first = await aws.launch(order(attempt=1))
    assert [one.public_ip for one in await aws.instances(REGION)] == [None]
    await aws.instances(REGION)
    ip = (await aws.instances(REGION))[0].public_ip
    assert ip is not None
    assert [a["PublicIp"] for a in ec2.describe_addresses()["Addresses"]] == [ip]
    await aws.terminate(REGION, [first.id])
    await aws.instances(REGION)
    second = await aws.launch(order(attempt=2))
    for _ in range(2):
        listed = await aws.instances(REGION)
    assert {one.id: one.public_ip for one in listed if one.live} == {second.id: ip}
    await aws.terminate(REGION, [second.id])
    for _ in range(2):
        await aws.instances(REGION)
        clock.time += addresses.KEEP_SECONDS
    await aws.instances(REGION)
    assert ec2.describe_addresses()["Addresses"] == []


async def test_elastic_ip__lost_reply__the_second_address_is_given_back(
    make_aws: Callable[..., Aws],
) -> None:
    aws = make_aws(elastic_ips=True)
    faults = Faults(aws)
    faults.watch("ec2")
    await aws.launch(order())
    faults.after("AllocateAddress", answer("InternalError", 500))
    await aws.instances(REGION)
    ec2 = boto3.client("ec2", region_name=REGION)
    tags: Any = [{"Key": k, "Value": v} for k, v in order().identity.tags().items()]
    specification: Any = [{"ResourceType": "elastic-ip", "Tags": tags}]
    ec2.allocate_address(Domain="vpc", TagSpecifications=specification)
    for _ in range(3):
        listed = await aws.instances(REGION)
    held = ec2.describe_addresses()["Addresses"]
    assert [one["PublicIp"] for one in held] == [listed[0].public_ip]


async def test_elastic_ip__quota_used_up__job_serves_at_its_own_address(
    make_aws: Callable[..., Aws],
) -> None:
    aws = make_aws(elastic_ips=True)
    faults = Faults(aws)
    faults.watch("ec2")
    own = (await aws.launch(order())).public_ip
    faults.before("AllocateAddress", answer("AddressLimitExceeded"))
    for _ in range(3):
        assert [one.public_ip for one in await aws.instances(REGION)] == [own]
