"""Permissions are found out without doing anything, and what could not be tried is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloud import layout
from cloud.aws import Aws
from cloud.kinds import NotAllowed, NotSetUp
from tests.cloud.conftest import REGION, Faults, answer, client, order

pytestmark = pytest.mark.unit

BUCKET = f"oyster-123456789012-{REGION}"


async def test_allowed__nothing_runs__mailbox_is_tried_and_left_clean(aws: Aws) -> None:
    found = await aws.allowed(REGION, order().identity)
    assert found.rehearsed == ("s3:PutObject", "s3:GetObject", "s3:DeleteObject")
    assert found.not_tried == ("ec2:TerminateInstances",)
    assert client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


async def test_allowed__an_instance_of_ours__its_end_is_rehearsed_and_it_lives(aws: Aws) -> None:
    launched = await aws.launch(order())
    found = await aws.allowed(REGION, order().identity)
    assert "ec2:TerminateInstances" in found.rehearsed
    (still,) = await aws.instances(REGION)
    assert (still.id, still.live) == (launched.id, True)


async def test_allowed__elastic_ips__an_address_is_rehearsed_and_none_taken(
    make_aws: Callable[..., Aws],
) -> None:
    found = await make_aws(elastic_ips=True).allowed(REGION, order().identity)
    assert "ec2:AllocateAddress" in found.rehearsed
    assert "ec2:ReleaseAddress" in found.not_tried
    assert client("ec2").describe_addresses()["Addresses"] == []


async def test_allowed__a_call_that_the_policy_forbids__is_named(
    make_aws: Callable[..., Aws],
) -> None:
    aws = make_aws(elastic_ips=True)
    faults = Faults(aws)
    faults.watch("ec2")
    faults.before("AllocateAddress", answer("UnauthorizedOperation", 403))
    with pytest.raises(NotAllowed, match="rehearsing an address"):
        await aws.allowed(REGION, order().identity)
    faults.watch("s3")
    faults.before("DeleteObject", answer("AccessDenied", 403))
    with pytest.raises(NotAllowed, match=layout.PROBE):
        await aws.allowed(REGION, order().identity)


async def test_allowed__no_bucket__says_what_to_run(aws: Aws) -> None:
    client("s3").delete_bucket(Bucket=BUCKET)
    with pytest.raises(NotSetUp, match="cloud setup"):
        await aws.allowed(REGION, order().identity)


async def test_quotas__limit_and_use__stand_beside_what_a_job_takes(
    make_aws: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quota(_region: object, code: str) -> float:
        return {"L-1216C47A": 10.0, "L-0263D0A3": 1.0}[code]

    aws = make_aws(elastic_ips=True)
    monkeypatch.setattr(aws._capacity, "_asked", quota)
    await aws.launch(order(1))
    vcpus, addresses = await aws.quotas(REGION, "c6a.xlarge")
    assert (vcpus.limit, vcpus.used, vcpus.needs, vcpus.more) == (10, 4, 4, 1)
    assert (addresses.limit, addresses.used, addresses.more) == (1, 0, 1)
