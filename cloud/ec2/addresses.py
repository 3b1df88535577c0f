"""One Elastic IP a job, kept over a replacement of its instance and never leaked.

AllocateAddress has no ClientToken, so a lost reply may leave two addresses for a job. They carry
the job's tags from birth, and every listing closes the difference again: allocate what is missing,
associate what runs, release what is too many or whose job has had no instance for a while.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from cloud.clients import Calls
from cloud.kinds import Missing, QuotaReached
from cloud.model import Identity, Instance, InstanceId, InstanceState, Region
from cloud.settings import Settings
from faults import Fault

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AddressTypeDef,
        TagSpecificationTypeDef,
        TagTypeDef,
    )


log = structlog.get_logger(__name__)

JobKey = tuple[int, str, int]  # chain, contract, job

# Between the end of one instance and the launch of its replacement a job has none.
KEEP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Address:
    """An Elastic IP as EC2 lists it."""

    allocation: str
    ip: str
    identity: Identity
    association: str | None = None
    instance: InstanceId | None = None


@dataclass(frozen=True, slots=True)
class Moves:
    """What closes the difference between addresses and instances."""

    allocate: tuple[Identity, ...] = ()
    associate: tuple[tuple[Address, InstanceId], ...] = ()
    release: tuple[Address, ...] = ()


def job_of(identity: Identity) -> JobKey:
    """What an address belongs to: the job, whatever generation or attempt."""
    return identity.chain_id, identity.contract.lower(), identity.job


def plan(
    instances: Iterable[Instance], addresses: Iterable[Address], idle: frozenset[JobKey]
) -> Moves:
    """The moves for one region. `idle` are the jobs without a live instance for long enough.

    An address on a live instance stays there; one on an instance that is not listed is left alone.
    """
    listed = {instance.id: instance for instance in instances}
    held = _by_job(addresses)
    jobs = {job_of(one.identity): one for one in sorted(listed.values(), key=_rank) if one.live}
    release = [a for job, some in held.items() for a in some[1:] if _free(a, listed)]
    release += [some[0] for job, some in held.items() if job in idle and _free(some[0], listed)]
    associate = [
        (held[job][0], instance.id)
        for job, instance in jobs.items()
        if job in held and instance.state == InstanceState.RUNNING and _free(held[job][0], listed)
    ]
    allocate = [instance.identity for job, instance in jobs.items() if job not in held]
    return Moves(tuple(allocate), tuple(associate), tuple(release))


class Addresses:
    """Has the addresses of a region follow its instances."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._settings = settings
        self._idle_since: dict[tuple[Region, JobKey], float] = {}
        # Jobs that found the quota used up serve at their instance's own address: a late job
        # costs the stake, and an address that changes under a running job costs its user.
        self._without: set[JobKey] = set()

    async def follow(self, region: Region, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The instances with the addresses they are to be reached at; None until associated."""
        addresses = await self.listing(region)
        moves = plan(instances, addresses, self._idle(region, instances, addresses))
        for identity in moves.allocate:
            await self._allocate(region, identity)
        for address, instance in moves.associate:
            await self._try(self._associate(region, address, instance))
        for address in moves.release:
            await self._try(self.release(region, address))
        at = {a.instance: a.ip for a in addresses if a.instance}
        return [self._reached(one, at) for one in instances]

    async def listing(self, region: Region) -> Sequence[Address]:
        """Every address of this owner in the region. Raises RetryLater."""
        tags = self._settings.owner.tags()
        ec2 = self._calls.clients.ec2(region)
        answer = await self._calls.ask(
            region,
            "DescribeAddresses",
            f"listing addresses in {region}",
            lambda: ec2.describe_addresses(
                Filters=[{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
            ),
        )
        return [ours for one in answer["Addresses"] if (ours := _address(one)) is not None]

    async def release(self, region: Region, address: Address) -> None:
        """Give the address back; one that is gone already is fine. Raises RetryLater."""
        ec2 = self._calls.clients.ec2(region)
        doing = f"releasing {address.ip} of job {address.identity.job}"
        try:
            if association := address.association:
                await self._calls.ask(
                    region,
                    "DisassociateAddress",
                    doing,
                    lambda: ec2.disassociate_address(AssociationId=association),
                )
            await self._calls.ask(
                region,
                "ReleaseAddress",
                doing,
                lambda: ec2.release_address(AllocationId=address.allocation),
            )
        except Missing:
            log.debug("address.gone", ip=address.ip, job=address.identity.job)

    async def _allocate(self, region: Region, identity: Identity) -> None:
        tags: list[TagTypeDef] = [{"Key": k, "Value": v} for k, v in identity.tags().items()]
        specification: TagSpecificationTypeDef = {"ResourceType": "elastic-ip", "Tags": tags}
        ec2 = self._calls.clients.ec2(region)
        if job_of(identity) in self._without:
            return
        try:
            await self._calls.ask(
                region,
                "AllocateAddress",
                f"allocating an address for job {identity.job}",
                lambda: ec2.allocate_address(
                    Domain="vpc",
                    TagSpecifications=[specification],
                ),
            )
        except QuotaReached as fault:
            self._without.add(job_of(identity))
            log.warning("address.none_left", job=identity.job, region=region, error=str(fault))
        except Fault as fault:
            log.warning("address.failed", job=identity.job, region=region, error=str(fault))

    async def _associate(self, region: Region, address: Address, instance: InstanceId) -> None:
        ec2 = self._calls.clients.ec2(region)
        await self._calls.ask(
            region,
            "AssociateAddress",
            f"associating {address.ip} with {instance}",
            lambda: ec2.associate_address(
                AllocationId=address.allocation, InstanceId=instance, AllowReassociation=True
            ),
        )

    async def _try(self, move: Awaitable[None]) -> None:
        """A move that fails now is made again after the next listing."""
        try:
            await move
        except Fault as fault:
            log.warning("address.failed", error=str(fault))

    def _reached(self, instance: Instance, at: Mapping[InstanceId, str]) -> Instance:
        if instance.id not in at and job_of(instance.identity) in self._without:
            return instance
        return replace(instance, public_ip=at.get(instance.id))

    def _idle(
        self, region: Region, instances: Iterable[Instance], addresses: Iterable[Address]
    ) -> frozenset[JobKey]:
        now = self._calls.clock.now()
        busy = {job_of(one.identity) for one in instances if one.live}
        idle = {job_of(address.identity) for address in addresses} - busy
        since = {(region, job): self._idle_since.get((region, job), now) for job in idle}
        others = {key: at for key, at in self._idle_since.items() if key[0] != region}
        self._idle_since = others | since
        return frozenset(job for (_, job), at in since.items() if now - at >= KEEP_SECONDS)


def _by_job(addresses: Iterable[Address]) -> Mapping[JobKey, list[Address]]:
    """The addresses of each job, the one to keep first: in use before idle, then the lowest id."""
    held: dict[JobKey, list[Address]] = defaultdict(list)
    for address in addresses:
        held[job_of(address.identity)].append(address)
    return {
        job: sorted(some, key=lambda a: (a.association is None, a.allocation))
        for job, some in held.items()
    }


def _free(address: Address, listed: Mapping[InstanceId, Instance]) -> bool:
    """Whether no live or unknown instance uses it."""
    if address.instance is None:
        return True
    return address.instance in listed and not listed[address.instance].live


def _rank(instance: Instance) -> tuple[bool, int, int, float]:
    """Later wins: a running instance, the newest attempt."""
    one = instance.identity
    running = instance.state == InstanceState.RUNNING
    return running, one.generation, one.attempt, -instance.launched_at


def _address(found: AddressTypeDef) -> Address | None:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", []) if "Key" in tag}
    identity = Identity.from_tags(tags)
    if identity is None or "AllocationId" not in found:
        return None
    instance = found.get("InstanceId") or None
    return Address(
        allocation=found["AllocationId"],
        ip=found["PublicIp"],
        identity=identity,
        association=found.get("AssociationId") or None,
        instance=InstanceId(instance) if instance else None,
    )
