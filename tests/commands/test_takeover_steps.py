"""A takeover that dies at any of its steps: whoever begins again comes to the same end on EC2."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from agent.market.model import JobId
from cloud.aws import Aws
from commands.takeover_plan import JobStanding, Standing, plan_takeover
from commands.taking_over import _there, act
from tests.cloud.conftest import (
    REGION,
    Faults,
    Killed,
    _models_read_once,
    aws,
    bounded,
    client,
    clock,
    faults,
    make_aws,
    mocked,
    region,
)

__all__ = ["_models_read_once", "aws", "bounded", "clock", "faults", "make_aws", "mocked", "region"]

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

TAGS = {"managedBy": "marlin"}
STEPS = ("TerminateInstances", "DisassociateAddress", "ReleaseAddress")
# Two to end, one that is refused here, one of nobody that the chain knows.
STANDINGS = {
    JobId(0): Standing.OURS_UP, JobId(1): Standing.OVER, JobId(2): Standing.REFUSED,
    JobId(3): Standing.STRANGE,
}  # fmt: skip


def old(job: int) -> tuple[str, str]:
    """An instance with its address, as the control plane leaves them."""
    ec2, pairs = client("ec2"), {**TAGS, "jobId": f"0x{job:x}"}
    tags = [{"Key": name, "Value": value} for name, value in pairs.items()]
    made = ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"], MinCount=1, MaxCount=1,
        InstanceType="c6a.xlarge",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )  # fmt: skip
    held = ec2.allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}]
    )
    instance = str(made["Instances"][0]["InstanceId"])
    ec2.associate_address(AllocationId=held["AllocationId"], InstanceId=instance)
    return instance, str(held["PublicIp"])


async def to_the_end(aws: Aws) -> None:
    """As the command goes on: look, plan, act, until nothing is left to do."""
    config = SimpleNamespace(aws=SimpleNamespace(regions=[str(REGION)]))
    desk: Any = SimpleNamespace(
        config=config, provider="0x", registry="0x", endpoints=SimpleNamespace(chain_id=1)
    )
    standings: Mapping[JobId, JobStanding] = {
        job: JobStanding(standing) for job, standing in STANDINGS.items()
    }
    for _ in range(10):
        plan = plan_takeover(*await _there(desk, aws, TAGS), standings, ())
        if not plan.waits:
            return
        await act(aws, plan)
    raise AssertionError("there is no end to it")


def left(instances: Mapping[str, int], held: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """The jobs whose old instances run, and those whose addresses are there."""
    ec2 = client("ec2")
    found = ec2.describe_instances(InstanceIds=list(instances))["Reservations"]
    states = {one["InstanceId"]: one["State"]["Name"] for r in found for one in r["Instances"]}
    ips = {one["PublicIp"] for one in ec2.describe_addresses()["Addresses"]}
    running = [job for instance, job in instances.items() if states[instance] == "running"]
    return running, [job for ip, job in held.items() if ip in ips]


class Steps:
    """Each life does one step and dies: before the next is asked for, or when it was done."""

    def __init__(self, faults: Faults, *, done: bool) -> None:
        self.last, self._left, self._done = list[str](), 1, done
        for step in STEPS:
            (faults.after if done else faults.before)(step, *[partial(self._hook, step)] * 50)

    def _hook(self, step: str, *_: object) -> None:
        if self._left == 0 or self._done:
            self.last.append(step)
            self._left = 1
            raise Killed(step)
        self._left -= 1

    def again(self) -> None:
        self._left = 1


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_takeover__killed_at_each_step__is_finished_by_those_that_begin_again(
    aws: Aws, faults: Faults, done: bool
) -> None:
    made = [old(job) for job in STANDINGS]
    instances = {instance: job for job, (instance, _) in enumerate(made)}
    held = {ip: job for job, (_, ip) in enumerate(made)}
    steps = Steps(faults, done=done)
    for life in itertools.count():
        try:
            await to_the_end(aws)
            break
        except Killed:
            steps.again()
        assert life < 12, "each life comes a step further"
        running, addresses = left(instances, held)
        assert {2, 3} <= set(running), "what is refused here or not ours runs on"
        assert set(running) <= set(addresses), "what runs keeps its address"
    assert set(steps.last) == set(STEPS)
    assert left(instances, held) == ([2, 3], [2, 3])
