"""Instance types as EC2 describes them, what an enclave can get on one, and whether an image fits.

Types do not change, so what EC2 said is kept on disk for a month and a restart asks nothing.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.clients import Calls
from cloud.ec2.places import Cache
from cloud.kinds import Missing, NoSuchType, NotSetUp
from cloud.model import ENCLAVE_LEAST_MIB, EnclaveRoom, Region, Zone
from faults import Refused

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

TYPE_KEEP_SECONDS = 30 * 86400
ZONES_KEEP_SECONDS = 86400

# The parent runs the system, nitro-cli, the host program and the page cache through which the
# image is read.
PARENT_LEAST_MIB = 1024
PARENT_SHARE = 8  # one part in so many: firmware, kernel and page tables grow with the memory
HUGE_PAGE_MIB = 2
# An enclave's CPUs and memory come from one NUMA node (Nitro Enclaves user guide, "Nitro Enclaves
# concepts"). EC2 does not say how many a type has; types above 64 vCPUs may have two.
ONE_NODE_VCPUS = 64
MEMORY_PER_EIF = 4  # an EIF needs about four times its size to boot


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """What EC2 says of a type."""

    instance_type: str
    architecture: str
    vcpus: int
    threads_per_core: int
    memory_mib: int
    enclaves: bool
    network_mbps: int = 0  # what it keeps up for long; 0: EC2 names none


class Catalog:
    """Types by region, remembered in `directory`."""

    def __init__(self, calls: Calls, directory: Path) -> None:
        self._calls = calls
        self._directory = directory
        self._types = Cache(calls.clock.now, TYPE_KEEP_SECONDS)
        self._zones = Cache(calls.clock.now, ZONES_KEEP_SECONDS)

    async def facts(self, region: Region, instance_type: str) -> TypeFacts:
        """What EC2 says of the type. Raises Refused when the region has no such type."""
        key = (region, instance_type)
        return await self._types.get(key, lambda: self._facts(region, instance_type))

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        """What an enclave gets on the type. Raises Refused: unknown, or without enclaves."""
        return enclave_room(await self.facts(region, instance_type))

    async def zones(self, region: Region, instance_type: str) -> frozenset[Zone]:
        """The zones of the region that offer the type at all."""
        key = (region, instance_type)
        return await self._zones.get(key, lambda: self._offered(region, instance_type))

    async def _facts(self, region: Region, instance_type: str) -> TypeFacts:
        file = self._directory / f"{region}.{instance_type}.json"
        if kept := self._kept(file):
            return kept
        facts = await self._described(region, instance_type)
        self._keep(file, facts)
        return facts

    async def _described(self, region: Region, instance_type: str) -> TypeFacts:
        doing = f"asking for instance type {instance_type} in {region}"
        ec2 = self._calls.clients.ec2(region)
        try:
            answer = await self._calls.ask(
                region,
                "DescribeInstanceTypes",
                doing,
                lambda: ec2.describe_instance_types(
                    Filters=[{"Name": "instance-type", "Values": [instance_type]}]
                ),
            )
        except NoSuchType as fault:
            raise Refused(str(fault)) from fault
        except Missing as fault:
            raise NotSetUp(str(fault)) from fault
        exact = [t for t in answer["InstanceTypes"] if t["InstanceType"] == instance_type]
        if not exact:
            raise Refused(f"{doing}: EC2 has no such type there; deregister it")
        return _facts(exact[0])

    async def _offered(self, region: Region, instance_type: str) -> frozenset[Zone]:
        pages = self._calls.clients.ec2(region).get_paginator("describe_instance_type_offerings")
        offers = await self._calls.ask(
            region,
            "DescribeInstanceTypeOfferings",
            f"asking which zones of {region} offer {instance_type}",
            lambda: [
                offer
                for page in pages.paginate(
                    LocationType="availability-zone",
                    Filters=[{"Name": "instance-type", "Values": [instance_type]}],
                )
                for offer in page["InstanceTypeOfferings"]
            ],
        )
        return frozenset(Zone(offer["Location"]) for offer in offers)

    def _kept(self, file: Path) -> TypeFacts | None:
        try:
            kept = json.loads(file.read_text())
            if kept["at"] < self._calls.clock.now() - TYPE_KEEP_SECONDS:
                return None
            return TypeFacts(**kept["facts"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _keep(self, file: Path, facts: TypeFacts) -> None:
        """Without room or right to write, the next start asks again."""
        kept = {"at": self._calls.clock.now(), "facts": asdict(facts)}
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(kept))
            fresh.replace(file)


def enclave_room(facts: TypeFacts) -> EnclaveRoom:
    """What an enclave gets: whole cores and whole huge pages of one NUMA node.

    The parent keeps one core and at least a gibibyte. Raises Refused for a type without enclaves
    or too small for one (Nitro Enclaves user guide, "Requirements": at least four vCPUs on x86,
    two on Graviton, is what leaves whole cores on both sides).
    """
    if not facts.enclaves:
        raise Refused(f"{facts.instance_type} does not support Nitro Enclaves; deregister it")
    nodes = 2 if facts.vcpus > ONE_NODE_VCPUS else 1
    parent_mib = max(PARENT_LEAST_MIB, facts.memory_mib // PARENT_SHARE)
    cpus = min(facts.vcpus - facts.threads_per_core, facts.vcpus // nodes)
    memory = min(facts.memory_mib - parent_mib, facts.memory_mib // nodes)
    cpus -= cpus % facts.threads_per_core
    memory -= memory % HUGE_PAGE_MIB
    if cpus < 1 or memory < ENCLAVE_LEAST_MIB:
        raise Refused(f"{facts.instance_type} is too small for an enclave beside its parent")
    return EnclaveRoom(
        facts.instance_type,
        facts.architecture,
        cpus,
        memory,
        facts.network_mbps,
        facts.threads_per_core,
    )


def misfit(
    room: EnclaveRoom, *, image_bytes: int, architecture: str, memory_mib: int
) -> str | None:
    """Why an image does not fit in `room`, in words for the one who asks; None when it fits.

    `memory_mib` is what the image is known to need, 0 when nothing is known.
    """
    if architecture != room.architecture:
        return f"the image is for {architecture}, {room.instance_type} is {room.architecture}"
    needs = max(memory_mib, ENCLAVE_LEAST_MIB, -(-image_bytes * MEMORY_PER_EIF // (1 << 20)))
    if needs > room.memory_mib:
        has = f"an enclave on {room.instance_type} gets {room.memory_mib}"
        return f"the image needs {needs} MiB, {has}"
    return None


def _facts(info: InstanceTypeInfoTypeDef) -> TypeFacts:
    cpus = info["VCpuInfo"]
    # Graviton answers with arm64 alone; x86_64_mac and i386 never support enclaves.
    architectures = info["ProcessorInfo"].get("SupportedArchitectures", [])
    return TypeFacts(
        instance_type=info["InstanceType"],
        architecture="arm64" if "arm64" in architectures else "x86_64",
        vcpus=cpus["DefaultVCpus"],
        threads_per_core=cpus.get("DefaultThreadsPerCore", 1),
        memory_mib=info["MemoryInfo"]["SizeInMiB"],
        enclaves=info.get("NitroEnclavesSupport") == "supported",
        network_mbps=round(
            sum(
                1000 * card.get("BaselineBandwidthInGbps", 0)
                for card in info.get("NetworkInfo", {}).get("NetworkCards", [])
            )
        ),
    )
