"""How many more jobs of a type a region takes now, and what limits it.

Quotas change on request, use changes with every launch: quotas are kept for an hour, use for half
a minute, with this process's own launches counted on top at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from cloud.clients import Calls
from cloud.ec2.catalog import Catalog, TypeFacts
from cloud.ec2.places import Cache, Places
from cloud.ec2.soldout import SoldOut
from cloud.kinds import Missing
from cloud.lean import Memo, every
from cloud.model import Headroom, Region
from cloud.settings import Settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, ReservationTypeDef

QUOTA_KEEP_SECONDS = 3600
USE_KEEP_SECONDS = 30

VCPUS = "L-1216C47A"  # Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances, in vCPUs
ADDRESSES = "L-0263D0A3"  # EC2-VPC Elastic IPs
# The letters before the first digit of a type; `inf`, `trn`, `dl`, `hpc`, `mac` are no Standard.
STANDARD = frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})
Size = tuple[str, int | None]  # an instance's type and vCPUs; None: as the type has them
UNLIMITED = 1_000_000  # stands for "nothing known limits it"


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that runs out: a word for people, and how many more jobs it takes."""

    word: str
    more: int


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """A quota of the account in one region: its limit, what is in use, what one more job takes."""

    code: str
    what: str
    limit: int
    used: int
    needs: int

    @property
    def more(self) -> int:
        """How many more jobs it leaves room for."""
        return max(0, (self.limit - self.used) // self.needs)


def tightest(region: Region, instance_type: str, limits: Iterable[Limit]) -> Headroom:
    """The headroom under all of these limits; the first of the tightest is named."""
    least = min(limits, key=lambda limit: limit.more, default=Limit("nothing known", UNLIMITED))
    return Headroom(region, instance_type, max(0, least.more), least.word)


def is_standard(instance_type: str) -> bool:
    """Whether the Standard vCPU quota counts this type (EC2 user guide, "On-Demand quotas")."""
    letters = re.match(r"[a-z]+", instance_type)
    return letters is not None and letters[0] in STANDARD


class Capacity:
    """Quotas, use, free addresses and sold-out zones of every region."""

    def __init__(
        self, calls: Calls, settings: Settings, places: Places, catalog: Catalog, sold_out: SoldOut
    ) -> None:
        self._calls = calls
        self._settings = settings
        self._places = places
        self._catalog = catalog
        self._sold_out = sold_out
        self._quotas = Cache(calls.clock.now, QUOTA_KEEP_SECONDS)
        self._use = Cache(calls.clock.now, USE_KEEP_SECONDS)
        self._sizes: dict[Region, Memo[tuple[Size, ...]]] = {}
        self._launched: Counter[Region] = Counter()  # vCPUs since the use was read

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        """How many more jobs of this type fit now. Raises RetryLater, Refused (no such type)."""
        facts = await self._catalog.facts(region, instance_type)
        limits = [
            await self._zones(region, instance_type),
            await self._vcpus(region, facts),
            await self._addresses(region),
        ]
        return tightest(region, instance_type, [limit for limit in limits if limit])

    async def quotas(self, region: Region, instance_type: str) -> list[QuotaUse]:
        """The known quotas that one more job of the type counts against, with their use."""
        facts = await self._catalog.facts(region, instance_type)
        found = [await self._vcpu_use(region, facts), await self._address_use(region)]
        return [use for use in found if use]

    async def launched(self, region: Region, instance_type: str) -> None:
        """This process has launched one more; counted until the use is read again."""
        self._launched[region] += (await self._catalog.facts(region, instance_type)).vcpus

    async def _zones(self, region: Region, instance_type: str) -> Limit:
        offered = await self._catalog.zones(region, instance_type)
        subnets = [s for s in await self._places.subnets(region) if s.zone in offered]
        if not subnets:
            return Limit(f"no subnet in a zone with {instance_type}", 0)
        left = [s for s in subnets if not self._sold_out.is_(instance_type, s.zone)]
        if not left:
            return Limit("zones sold out", 0)
        return Limit("free addresses in subnets", sum(s.free_addresses for s in left))

    async def _vcpus(self, region: Region, facts: TypeFacts) -> Limit | None:
        use = await self._vcpu_use(region, facts)
        return Limit(f"vCPU quota {VCPUS}", use.more) if use else None

    async def _addresses(self, region: Region) -> Limit | None:
        use = await self._address_use(region)
        return Limit(f"Elastic IP quota {ADDRESSES}", use.more) if use else None

    async def _vcpu_use(self, region: Region, facts: TypeFacts) -> QuotaUse | None:
        quota = await self._quota(region, VCPUS)
        if quota is None or not is_standard(facts.instance_type):
            return None
        used = await self._use.get(region, lambda: self._used(region)) + self._launched[region]
        return QuotaUse(VCPUS, "vCPUs", int(quota), used, facts.vcpus)

    async def _address_use(self, region: Region) -> QuotaUse | None:
        if not self._settings.elastic_ips:
            return None
        quota = await self._quota(region, ADDRESSES)
        if quota is None:
            return None
        ec2 = self._calls.clients.ec2(region)
        answer = await self._calls.ask(
            region,
            "DescribeAddresses",
            f"counting addresses in {region}",
            ec2.describe_addresses,
        )
        return QuotaUse(ADDRESSES, "Elastic IPs", int(quota), len(answer["Addresses"]), 1)

    async def _quota(self, region: Region, code: str) -> float | None:
        return await self._quotas.get((region, code), lambda: self._asked(region, code))

    async def _asked(self, region: Region, code: str) -> float | None:
        """The quota of the account; None when AWS knows no such quota in this region."""
        quotas = self._calls.clients.quotas(region)
        try:
            answer = await self._calls.ask(
                region,
                "GetServiceQuota",
                f"reading quota {code} in {region}",
                lambda: quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code),
            )
        except Missing:
            return None
        return answer["Quota"]["Value"]

    async def _used(self, region: Region) -> int:
        """vCPUs of all Standard on-demand instances in the account, whoever launched them."""
        pages = self._calls.clients.ec2(region).get_paginator("describe_instances")
        filters: Sequence[FilterTypeDef] = [
            {"Name": "instance-state-name", "Values": ["pending", "running"]}
        ]
        memo = self._sizes.setdefault(region, Memo(_sizes))
        found = await self._calls.ask(
            region,
            "DescribeInstances",
            f"counting vCPUs in use in {region}",
            lambda: memo.over(
                every(
                    pages.paginate(Filters=filters, PaginationConfig={"PageSize": 1000}),
                    "Reservations",
                )
            ),
        )
        self._launched[region] = 0
        sizes = Counter(chain.from_iterable(found))
        return sum([count * await self._vcpus_of(region, one) for one, count in sizes.items()])

    async def _vcpus_of(self, region: Region, size: Size) -> int:
        instance_type, vcpus = size
        if vcpus is not None:
            return vcpus
        return (await self._catalog.facts(region, instance_type)).vcpus


def _sizes(reservation: ReservationTypeDef) -> tuple[Size, ...]:
    return tuple(map(_size, reservation["Instances"]))


def _size(found: InstanceTypeDef) -> Size:
    if not is_standard(found["InstanceType"]) or found.get("InstanceLifecycle"):
        return found["InstanceType"], 0  # another quota, or spot
    cpus = found.get("CpuOptions")
    if cpus and "CoreCount" in cpus:
        return found["InstanceType"], cpus["CoreCount"] * cpus.get("ThreadsPerCore", 1)
    return found["InstanceType"], None
