"""An AMI with the enclave tools and the host program inside, so that a boot installs nothing.

An instance installs them, switches itself off when all went well, and becomes an image named
`<prefix>-host-<architecture>-<time>`, which `aws.ami = "<prefix>-host-*"` finds. The instance ends
whatever happens; should this process be killed before it could see to that, the next bake does, or
`cloud teardown`, which removes the images and their snapshots too.
The program comes from the bucket, by digest, with the role of any host.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloud import layout
from cloud.account.setup import SETUP_TAG
from cloud.aws import Aws
from cloud.ec2.instances import LOST_REPLY_TRIES
from cloud.ec2.places import Subnet
from cloud.kinds import Missing, NoCapacity, NotHere, OutcomeUnknown
from cloud.model import InstanceId, Region
from cloud.settings import Settings
from faults import Fault, Refused, RetryLater, printable

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import TagSpecificationTypeDef

# The smallest current type of each architecture; it installs packages once, no enclave runs there.
BUILDERS: Mapping[str, str] = {"x86_64": "t3.small", "arm64": "t4g.small"}
POLL_SECONDS = 5.0
INSTALL_SECONDS = 900.0  # packages come within two minutes; the rest is for a slow repository
IMAGE_SECONDS = 1800.0
# No bake takes longer, so a builder of this age has lost its process.
LEFTOVER_SECONDS = 3600.0
WORDS_BYTES = 4096  # of a builder, which is believed as little as a host
END_TRIES = 5  # a pause of POLL_SECONDS apart: a builder that is left behind costs money

# `set -e` and switching off as the last line: an instance that stops has done everything above.
# Amazon Linux 2023 has the AWS CLI (AL2023 user guide, "Installing the AWS CLI"). What it has to
# carry packets with is said where a host's status is; UserId is IAM's aws:userid (`cloud.layout`).
_SCRIPT = """#!/bin/bash
set -euo pipefail
dnf --assumeyes --quiet install {packages}
mkdir -p /opt/oyster-host
aws s3 cp --region {region} s3://{bucket}/{key} /opt/oyster-host/{sha256}.pyz
echo "{sha256}  /opt/oyster-host/{sha256}.pyz" | sha256sum --check
{{
  python3 /opt/oyster-host/{sha256}.pyz --network > /tmp/network.json
  who=$(aws sts get-caller-identity --region {region} --query UserId --output text)
  aws s3 cp --region {region} /tmp/network.json "s3://{bucket}/{hosts}$who/{status}"
}} || echo "what there is for packets is not said"
rm -f /tmp/network.json
cloud-init clean --logs
sync
systemctl poweroff
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into the image: packages by name, and the host program's bytes."""

    architecture: str
    packages: tuple[str, ...]
    program: bytes


async def bake(
    aws: Aws, settings: Settings, region: Region, recipe: Recipe, told: Callable[[str], None]
) -> str:
    """The id of the new image. Raises Refused (the installation failed), NotSetUp, RetryLater."""
    sha256 = await aws.mailbox.publish_program(region, recipe.program)
    script = _SCRIPT.format(
        packages=" ".join(recipe.packages),
        region=region,
        bucket=(await aws.home(region)).bucket,
        key=layout.program_key(sha256),
        sha256=sha256,
        hosts=layout.HOSTS,
        status=layout.STATUS,
    )
    oven = _Oven(aws, settings, region, told)
    await oven.clear()
    builder = await oven.start(recipe.architecture, script)
    try:
        await oven.installed(builder)
        told(await oven.network(builder))
        image = await oven.image(builder, recipe.architecture)
        await oven.available(image)
    finally:
        await oven.end(builder)
    return image


class _Oven:
    """The calls of one bake, in their order."""

    def __init__(
        self, aws: Aws, settings: Settings, region: Region, told: Callable[[str], None]
    ) -> None:
        self._aws = aws
        self._settings = settings
        self._region = region
        self._told = told
        self._ec2 = aws.calls.clients.ec2(region)
        self._clock = aws.calls.clock

    async def clear(self) -> None:
        """End the builders of bakes that were killed."""
        filters = [
            {"Name": f"tag:{SETUP_TAG}", "Values": [self._settings.prefix]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
        pages = self._ec2.get_paginator("describe_instances")
        found = await self._aws.calls.ask(
            self._region,
            "DescribeInstances",
            "looking for what earlier bakes left",
            lambda: [
                instance
                for page in pages.paginate(Filters=filters)  # type: ignore[arg-type]  # plain dicts
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ],
        )
        before = self._clock.now() - LEFTOVER_SECONDS
        for left in found:
            if left["LaunchTime"].timestamp() < before:
                self._told(f"ending {left['InstanceId']}, which an earlier bake left")
                await self.end(InstanceId(left["InstanceId"]))

    async def start(self, architecture: str, script: str) -> InstanceId:
        """The builder, in the first zone that has room for one."""
        refusal: Fault = NoCapacity(f"no zone of {self._region} has room for a builder")
        for subnet in await self._aws.places.subnets(self._region):
            try:
                builder = await self._launched(architecture, script, subnet)
            except (NoCapacity, NotHere) as elsewhere:
                refusal = elsewhere
            else:
                self._told(f"installing on {builder}")
                return builder
        raise refusal

    async def _launched(self, architecture: str, script: str, subnet: Subnet) -> InstanceId:
        """Launched once: when a reply is lost, the same call again finds the builder."""
        ami = await self._aws.places.ami(self._region, architecture)
        group = await self._aws.places.group(self._region)
        token = secrets.token_hex(16)
        for _ in range(LOST_REPLY_TRIES - 1):
            try:
                return await self._run(architecture, script, ami.id, subnet, group, token)
            except OutcomeUnknown:
                await self._clock.sleep(POLL_SECONDS)
        return await self._run(architecture, script, ami.id, subnet, group, token)

    async def _run(
        self, architecture: str, script: str, ami: str, subnet: Subnet, group: str, token: str
    ) -> InstanceId:
        answer = await self._aws.calls.ask(
            self._region,
            "RunInstances",
            f"launching a {BUILDERS[architecture]} to bake on",
            lambda: self._ec2.run_instances(
                MinCount=1,
                MaxCount=1,
                ClientToken=token,
                ImageId=ami,
                InstanceType=BUILDERS[architecture],  # type: ignore[arg-type]  # stubs list all types
                UserData=script,
                InstanceInitiatedShutdownBehavior="stop",
                IamInstanceProfile={"Name": self._settings.role},
                MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                NetworkInterfaces=[
                    {
                        "DeviceIndex": 0,
                        "SubnetId": subnet.id,
                        "Groups": [group],
                        "AssociatePublicIpAddress": True,
                    }
                ],
                TagSpecifications=[self._tags("instance"), self._tags("volume")],
            ),
        )
        return InstanceId(answer["Instances"][0]["InstanceId"])

    async def installed(self, builder: InstanceId) -> None:
        """Wait until the builder has switched itself off."""

        async def off() -> bool:
            try:
                found = await self._aws.calls.ask(
                    self._region,
                    "DescribeInstances",
                    f"waiting for {builder} to switch itself off",
                    lambda: self._ec2.describe_instances(InstanceIds=[builder]),
                )
            except Missing:
                return False  # launched a moment ago, not visible yet
            state = found["Reservations"][0]["Instances"][0]["State"]["Name"]
            if state in ("shutting-down", "terminated"):
                raise Refused(f"{builder} was ended while it installed; bake again")
            return state == "stopped"

        if not await self._until(off, INSTALL_SECONDS):
            raise Refused(
                f"{builder} did not finish installing in {INSTALL_SECONDS:.0f} s; it ends now. "
                f"Its console said: {await self._console(builder)}"
            )

    async def network(self, builder: InstanceId) -> str:
        """What the builder found to carry packets with, in a line for people."""
        account = await self._aws.account()
        bucket = account.bucket(self._region)
        key = layout.status_key(account.role_id, builder)
        s3 = self._aws.calls.clients.s3(self._region)
        try:
            text = await self._aws.calls.clients.run(
                f"reading what {builder} found",
                lambda: s3.get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account.id)[
                    "Body"
                ].read(WORDS_BYTES),
            )
            await self._aws.mailbox.forget(self._region, builder)
        except (Missing, RetryLater) as fault:
            return f"packets: what the image has for them is not known ({fault})"
        return said_of_network(text)

    async def image(self, builder: InstanceId, architecture: str) -> str:
        when = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        name = f"{self._settings.prefix}-host-{architecture}-{when}"
        answer = await self._aws.calls.ask(
            self._region,
            "CreateImage",
            f"making image {name}",
            lambda: self._ec2.create_image(
                InstanceId=builder,
                Name=name,
                TagSpecifications=[self._tags("image"), self._tags("snapshot")],
            ),
        )
        self._told(f"making image {name} ({answer['ImageId']})")
        return answer["ImageId"]

    async def available(self, image: str) -> None:
        async def ready() -> bool:
            try:
                found = await self._aws.calls.ask(
                    self._region,
                    "DescribeImages",
                    f"waiting for {image}",
                    lambda: self._ec2.describe_images(ImageIds=[image]),
                )
            except Missing:
                return False
            state = found["Images"][0]["State"] if found["Images"] else "pending"
            if state in ("failed", "error", "invalid"):
                raise Refused(f"{image} is {state}; bake again")
            return state == "available"

        if not await self._until(ready, IMAGE_SECONDS):
            raise RetryLater(f"{image} is still not available after {IMAGE_SECONDS:.0f} s")

    async def end(self, builder: InstanceId) -> None:
        """Raises RetryLater when AWS does not take the call, tried again for a while."""
        for _ in range(END_TRIES - 1):
            try:
                return await self._aws.terminate(self._region, [builder])
            except RetryLater:
                await self._clock.sleep(POLL_SECONDS)
        try:
            await self._aws.terminate(self._region, [builder])
        except RetryLater as later:
            raise RetryLater(f"{builder} still runs, end it by hand: {later}") from later

    async def _console(self, builder: InstanceId) -> str:
        """The end of what it printed, on one line, fit for a terminal."""
        try:
            answer = await self._aws.calls.ask(
                self._region,
                "GetConsoleOutput",
                f"reading the console of {builder}",
                lambda: self._ec2.get_console_output(InstanceId=builder),
            )
        except Fault as fault:
            return f"nothing that can be read ({fault})"
        words = answer.get("Output", "").split()
        return printable(" ".join(words)[-1000:] or "nothing yet")

    async def _until(self, done: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Ask until it is so; an answer that can't be had now is asked for again."""
        end = self._clock.now() + seconds
        while not await _or_later(done):
            if self._clock.now() >= end:
                return False
            await self._clock.sleep(POLL_SECONDS)
        return True

    def _tags(self, kind: str) -> TagSpecificationTypeDef:
        prefix = self._settings.prefix
        return {
            "ResourceType": kind,  # type: ignore[typeddict-item]  # stubs list kinds by name
            "Tags": [
                {"Key": SETUP_TAG, "Value": prefix},
                {"Key": "Name", "Value": f"{prefix} bake"},
            ],
        }


def said_of_network(text: bytes) -> str:
    """What `--network` of the host program printed, and what follows from it."""
    try:
        document = json.loads(text)
        found = {str(name): str(word) for name, word in document.items()}
    except (ValueError, AttributeError):
        return "packets: what the image has for them is not known (no JSON object)"
    carries, translates = ("tun", "raw sockets"), ("nft", "iptables")
    whole = all("yes" in map(found.get, names) for names in (carries, translates))
    verdict = "can be served" if whole else "can NOT be served from this image"
    words = "; ".join(f"{name}: {word}" for name, word in sorted(found.items()))
    return printable(f"packets ({words}): enclaves with `network = packets` {verdict}")


async def _or_later(done: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await done()
    except RetryLater:
        return False
