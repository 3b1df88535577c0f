"""Another program's instances and addresses: found by its tags, ended and given back once."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.aws import Aws
from tests.cloud.conftest import REGION, client

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

TAGS = {"managedBy": "marlin", "project": "oyster"}


def tagged(kind: str, **more: str) -> list[dict[str, Any]]:
    pairs = {**TAGS, **more}
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in pairs.items()]}]


async def test_elsewhere__instances_and_addresses__are_found_ended_and_released(aws: Aws) -> None:
    ec2 = client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]

    def launch(**tags: str) -> str:
        made = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, InstanceType="c6a.xlarge",
            TagSpecifications=tagged("instance", **tags),
        )  # fmt: skip
        return str(made["Instances"][0]["InstanceId"])

    one, other = launch(jobId="0x1"), launch(jobId="0x2", managedBy="somebody")
    held = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", jobId="0x1"))
    ec2.associate_address(AllocationId=held["AllocationId"], InstanceId=one)

    (found,) = await aws.elsewhere.instances(REGION, TAGS)
    assert (found.id, found.tags["jobId"], found.instance_type) == (one, "0x1", "c6a.xlarge")
    (address,) = await aws.elsewhere.addresses(REGION, TAGS)
    assert (address.instance, address.ip) == (one, held["PublicIp"])
    for _ in range(2):  # who was interrupted does it again
        await aws.elsewhere.end(found)
        await aws.elsewhere.release(address)
    (gone,) = await aws.elsewhere.instances(REGION, TAGS)
    assert not gone.there
    assert await aws.elsewhere.addresses(REGION, TAGS) == []
    left = ec2.describe_instances(InstanceIds=[other])["Reservations"][0]["Instances"][0]
    assert left["State"]["Name"] == "running"
