"""Where an instance may go: subnets by zone, the security group, the image it starts from.

Answers are kept for some minutes and dropped when a launch says that one of them is gone. An image
that EC2 would not launch from is passed over for a while, where there is another.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cloud.clients import Calls
from cloud.kinds import Missing, NotSetUp
from cloud.model import LaunchOrder, Region, Zone
from cloud.settings import Settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import FilterTypeDef, ImageTypeDef, SubnetTypeDef

T = TypeVar("T")

KEEP_SECONDS = 600
# EC2 user guide, "Amazon Linux 2023 on EC2", launch with the public SSM parameter; the words for
# the architectures are EC2's own.
AL2023 = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
AL2023_NAMES = "al2023-ami-2023.*"  # the same images by name, older ones too; not the minimal ones
REFUSED_SECONDS = 600.0  # how long an image is passed over


@dataclass(frozen=True, slots=True)
class Subnet:
    id: str
    zone: Zone
    vpc: str
    free_addresses: int


@dataclass(frozen=True, slots=True)
class Ami:
    """A machine image; `least_gib` is what its root volume takes at least."""

    id: str
    root_device: str
    least_gib: int = 0


class Cache:
    """Values with the time they were asked for; one question at a time a key."""

    def __init__(self, now: Callable[[], float], keep_seconds: float) -> None:
        self._now = now
        self._keep = keep_seconds
        self._values: dict[object, tuple[float, object]] = {}
        self._locks: dict[object, asyncio.Lock] = {}

    async def get(self, key: object, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` answered for `key` at most `keep_seconds` ago."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            at, value = self._values.get(key, (float("-inf"), None))
            if self._now() - at >= self._keep:
                value = await ask()
                self._values[key] = (self._now(), value)
            return value  # type: ignore[return-value]  # keys and types go together, one caller each

    def drop(self) -> None:
        """Ask again next time."""
        self._values.clear()


class Places:
    """Subnets, group and image of each region."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._settings = settings
        self._cache = Cache(calls.clock.now, KEEP_SECONDS)
        self._refused: dict[str, float] = {}  # image id -> until when it is passed over

    async def subnets(self, region: Region) -> tuple[Subnet, ...]:
        """The subnets that serve, by zone. Raises NotSetUp when there are none."""
        return await self._cache.get(("subnets", region), lambda: self._subnets(region))

    async def group(self, region: Region) -> str:
        """The id of the security group. Raises NotSetUp."""
        return await self._cache.get(("group", region), lambda: self._group(region))

    async def ami(self, region: Region, architecture: str, passed_over: int = 0) -> Ami:
        """The image to start from, the newest that EC2 has not refused lately.

        `passed_over`: so many are left out, for what was launched from them died; all in turn when
        there are not that many. Raises NotSetUp when the configured one is not there.
        """
        images = await self._amis(region, architecture)
        if passed_over:
            images = _without_doubles((*images, *await self._spare(region, architecture)))
        serving = tuple(filter(self._serves, images)) or images[:1]
        return serving[passed_over % len(serving)]

    async def _spare(self, region: Region, architecture: str) -> tuple[Ami, ...]:
        """Amazon's own images, newest first, on which a host installs what it needs by itself; none
        where one image is configured by its id: whoever pins it wants that one."""
        if self._settings.ami.startswith("ami-"):
            return ()
        key = ("older", "ami", region, architecture)
        return await self._cache.get(key, lambda: self._images(region, architecture, AL2023_NAMES))

    async def pass_over(self, region: Region, architecture: str, image: str) -> bool:
        """EC2 refused to launch from `image`; whether there is another to launch from."""
        self._refused[image] = self._calls.clock.now() + REFUSED_SECONDS
        return self._serves(await self.ami(region, architecture))

    def _serves(self, ami: Ami) -> bool:
        return self._refused.get(ami.id, 0.0) <= self._calls.clock.now()

    async def _amis(self, region: Region, architecture: str) -> tuple[Ami, ...]:
        """What may serve, in this order: the configured image, then older ones of the kind."""
        key = ("ami", region, architecture)
        images = await self._cache.get(key, lambda: self._configured(region, architecture))
        if self._settings.ami != "al2023" or any(map(self._serves, images)):
            return images
        return (*images, *await self._spare(region, architecture))

    def forget(self) -> None:
        """Something that was there is gone: ask AWS again."""
        self._cache.drop()

    async def _subnets(self, region: Region) -> tuple[Subnet, ...]:
        ids = self._settings.subnets
        filters: list[FilterTypeDef] = [{"Name": "state", "Values": ["available"]}]
        if ids:
            filters.append({"Name": "subnet-id", "Values": list(ids)})
        else:
            filters.append({"Name": "default-for-az", "Values": ["true"]})
        pages = self._calls.clients.ec2(region).get_paginator("describe_subnets")
        found = await self._calls.ask(
            region,
            "DescribeSubnets",
            f"listing subnets in {region}",
            lambda: [s for page in pages.paginate(Filters=filters) for s in page["Subnets"]],
        )
        if not found:
            raise NotSetUp(f"{region} has no subnet that serves; name some in `subnets`")
        return tuple(sorted(map(_subnet, found), key=lambda subnet: (subnet.zone, subnet.id)))

    async def _group(self, region: Region) -> str:
        name = self._settings.security_group
        vpc = (await self.subnets(region))[0].vpc
        filters: list[FilterTypeDef] = [
            {"Name": "group-name", "Values": [name]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        answer = await self._calls.ask(
            region,
            "DescribeSecurityGroups",
            f"looking for security group {name} in {region}",
            lambda: self._calls.clients.ec2(region).describe_security_groups(Filters=filters),
        )
        if not answer["SecurityGroups"]:
            raise NotSetUp(f"{region} has no security group {name}; run `cloud setup`")
        return answer["SecurityGroups"][0]["GroupId"]

    async def _configured(self, region: Region, architecture: str) -> tuple[Ami, ...]:
        wanted = self._settings.ami
        if wanted == "al2023":
            wanted = AL2023.format(architecture=architecture)
        if wanted.startswith("/"):
            wanted = await self._parameter(region, wanted)
        images = await self._images(region, architecture, wanted)
        if not images:
            raise NotSetUp(f"{region} has no {architecture} image {wanted}; see `ami`")
        return images

    async def _parameter(self, region: Region, name: str) -> str:
        try:
            answer = await self._calls.ask(
                region,
                "GetParameter",
                f"reading {name} in {region}",
                lambda: self._calls.clients.ssm(region).get_parameter(Name=name),
            )
        except Missing as fault:
            raise NotSetUp(str(fault)) from fault
        return answer["Parameter"]["Value"]

    async def _images(self, region: Region, architecture: str, wanted: str) -> tuple[Ami, ...]:
        """Those of an id or a name, the newest first."""
        by_id = wanted.startswith("ami-")
        filters: list[FilterTypeDef] = [
            {"Name": "image-id" if by_id else "name", "Values": [wanted]},
            {"Name": "architecture", "Values": [architecture]},
            {"Name": "state", "Values": ["available"]},
        ]
        # A name is trusted only among our own images and Amazon's: anyone can publish any name.
        owners = [] if by_id else ["self", "amazon"]
        answer = await self._calls.ask(
            region,
            "DescribeImages",
            f"looking for image {wanted} in {region}",
            lambda: self._calls.clients.ec2(region).describe_images(Filters=filters, Owners=owners),
        )
        newest = sorted(answer["Images"], key=_made_at, reverse=True)
        return tuple(map(_ami, newest))


def zone_order(order: LaunchOrder, subnets: tuple[Subnet, ...]) -> tuple[Subnet, ...]:
    """The order in which zones are tried: the same for the same order, spread over orders.

    The preferred zone comes first; attempts of one job start in different zones.
    """
    if not subnets:
        return ()
    identity = order.identity
    seed = hashlib.sha256(f"{identity.contract.lower()}:{identity.job}".encode()).digest()
    start = (int.from_bytes(seed[:8], "big") + identity.generation + identity.attempt) % len(
        subnets
    )
    turned = subnets[start:] + subnets[:start]
    return tuple(sorted(turned, key=lambda subnet: subnet.zone != order.first_zone))


def _without_doubles(images: tuple[Ami, ...]) -> tuple[Ami, ...]:
    return tuple({image.id: image for image in images}.values())


def _subnet(found: SubnetTypeDef) -> Subnet:
    return Subnet(
        id=found["SubnetId"],
        zone=Zone(found["AvailabilityZone"]),
        vpc=found["VpcId"],
        free_addresses=found["AvailableIpAddressCount"],
    )


def _made_at(image: ImageTypeDef) -> str:
    return image.get("CreationDate", "")


def _ami(image: ImageTypeDef) -> Ami:
    root = image.get("RootDeviceName", "/dev/xvda")
    disks = [
        disk for disk in image.get("BlockDeviceMappings", []) if disk.get("DeviceName") == root
    ]
    sizes = (disk.get("Ebs", {}).get("VolumeSize", 0) for disk in disks)
    return Ami(image["ImageId"], root, max(sizes, default=0))
