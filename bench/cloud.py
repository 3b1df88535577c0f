"""AWS calls and CPU of a minute while jobs wait: the listing and the mailbox.

A minute is 60 / TICK_SECONDS ticks of "list the instances, read the reports"; every host writes
its heartbeat every 30 s, as the host program does. The clock is a number, nothing is waited for.
AWS's answers are canned (`bench.canned`): the CPU is ours and botocore's, TLS is not in it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from bench.canned import Canned
from bench.figure import Figure
from cloud import layout
from cloud.aws import Aws
from cloud.model import Identity, InstanceId, Region
from cloud.settings import Owner, Settings

REGION = Region("us-east-1")
OWNER = Owner(1, "0xc0", "0xp0")
TICK_SECONDS = 10
HEARTBEAT_SECONDS = 30
JOBS = (1, 100, 1000)
# One DescribeInstances a tick, and the status checks once a minute: what one job costs.
EC2_CALLS_A_MINUTE = 60 / TICK_SECONDS + 1


class Clock:
    """A number."""

    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Minute:
    """What one minute cost."""

    calls: Counter[str] = field(default_factory=Counter)
    calm: list[float] = field(default_factory=list)  # CPU seconds of ticks without a heartbeat
    news: list[float] = field(default_factory=list)  # and of those after one


def run() -> list[Figure]:
    """EC2 and S3 calls a minute for each number of waiting jobs, and the CPU of the most."""
    minutes = {jobs: _minute(jobs) for jobs in JOBS}
    counted = [figure for jobs in JOBS for figure in _figures(jobs, minutes[jobs].calls)]
    return [*counted, *_cpu(JOBS[-1], minutes[JOBS[-1]])]


def _cpu(jobs: int, minute: Minute) -> Iterator[Figure]:
    name = f"{jobs} waiting jobs"
    yield Figure(
        f"CPU of a tick, {name}", statistics.median(minute.calm), "s", note="no heartbeat since"
    )
    each = statistics.median(minute.news) / jobs * 1000
    yield Figure(f"CPU of a tick after heartbeats, by job, {name}", each, "ms")
    share = sum(minute.calm + minute.news) / 60 * 100
    yield Figure(f"CPU of a minute, {name}", share, "% of a core", note="ours and botocore's")


def _figures(jobs: int, calls: Counter[str]) -> Iterator[Figure]:
    ec2 = sum(n for name, n in calls.items() if name.startswith("Describe"))
    yield Figure(
        f"EC2 calls a minute, {jobs} waiting jobs",
        ec2,
        "calls",
        target=EC2_CALLS_A_MINUTE,
        at_most=True,
        note=f"a tick every {TICK_SECONDS} s",
    )
    yield Figure(
        f"S3 list calls a minute, {jobs} waiting jobs",
        calls["ListObjectsV2"],
        "calls",
        note="two objects a host, 1,000 a page",
    )
    yield Figure(
        f"S3 reads a minute, {jobs} waiting jobs",
        calls["GetObject"],
        "calls",
        target=jobs * (60 / HEARTBEAT_SECONDS),
        at_most=True,
        note=f"one for each heartbeat ({HEARTBEAT_SECONDS} s) and none between",
    )


def _minute(jobs: int) -> Minute:
    with _aws() as aws:
        return asyncio.run(_ticks(aws, jobs))


@contextmanager
def _aws() -> Iterator[Aws]:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws(), tempfile.TemporaryDirectory() as state:
        iam = boto3.client("iam", region_name=REGION)
        iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
        boto3.client("s3", region_name=REGION).create_bucket(Bucket=f"oyster-123456789012-{REGION}")
        aws = Aws(Settings(OWNER, (REGION,), Path(state)), lambda _order, _home: b"", Clock())
        yield aws
        aws.close()


async def _ticks(aws: Aws, jobs: int) -> Minute:
    minute, canned = Minute(), Canned()
    ids = _launch(jobs)
    account = await aws.account()
    ec2, s3 = aws.calls.clients.ec2(REGION), aws.calls.clients.s3(REGION)
    canned.serve_ec2(ec2)
    canned.serve_s3(s3)
    await aws.instances(REGION)  # moto makes the answer that is given from here on
    canned.alone()
    await aws.calls.clock.sleep(60)  # the status checks are due again
    for instance in ids:
        canned.objects[layout.desired_key(account.role_id, instance)] = b'{"run_id": "a"}'
    for client in (ec2, s3):
        client.meta.events.register(
            "provide-client-params", lambda model, **_: minute.calls.update([model.name])
        )
    for second in range(0, 60, TICK_SECONDS):
        beat = second % HEARTBEAT_SECONDS == 0
        if beat:
            said = f'{{"heartbeat": {second}}}'.encode()
            canned.objects |= {layout.status_key(account.role_id, one): said for one in ids}
        begun = time.process_time()
        await aws.instances(REGION)
        await aws.mailbox.reports(REGION)
        (minute.news if beat else minute.calm).append(time.process_time() - begun)
        await aws.calls.clock.sleep(TICK_SECONDS)
    return minute


def _launch(jobs: int) -> list[InstanceId]:
    ec2: Any = boto3.client("ec2", region_name=REGION)
    identity = Identity(OWNER.chain_id, OWNER.contract, OWNER.provider, 1, 1, 1)
    tags = [{"Key": key, "Value": value} for key, value in identity.tags().items()]
    answer = ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
        MinCount=jobs,
        MaxCount=jobs,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return [InstanceId(one["InstanceId"]) for one in answer["Instances"]]
