"""What the honest EC2 reads and writes in moto's own memory. Needs moto in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.iam.models import iam_backends

from devnet.aws.ec2 import NAMES

ACCOUNT: str = DEFAULT_ACCOUNT_ID


@dataclass(frozen=True)
class Shape:
    """An instance type as moto describes it (from EC2 itself)."""

    vcpus: int
    memory_mib: int
    threads_per_core: int
    architecture: str


def instance(region: str, instance_id: str) -> Any:
    """moto's object of one instance."""
    return ec2_backends[DEFAULT_ACCOUNT_ID][region].get_instance(instance_id)


def set_state(region: str, instance_id: str, code: int) -> None:
    """So that moto's filters and answers say it too."""
    state = instance(region, instance_id).instance_state
    state.code, state.name = code, NAMES[code]


def forget(region: str, instance_id: str) -> None:
    """moto lists for ever what was terminated."""
    kept = ec2_backends[DEFAULT_ACCOUNT_ID][region].reservations
    for name, reservation in list(kept.items()):
        reservation.instances = [one for one in reservation.instances if one.id != instance_id]
        if not reservation.instances:
            del kept[name]


def set_public_ip(region: str, instance_id: str, address: str) -> str:
    """Give it this address where moto gave it any; the one that it has now, or none."""
    card = next(iter(instance(region, instance_id).nics.values()))
    if card.public_ip:
        card.public_ip = address
    return str(card.public_ip or "")


def addresses(region: str, instance_id: str) -> list[str]:
    """The public addresses that reach it now, Elastic ones included."""
    cards = instance(region, instance_id).nics.values()
    return [str(card.public_ip) for card in cards if card.public_ip]


def shape(instance_type: str) -> Shape:
    """Raises KeyError for a type that moto does not know."""
    info = INSTANCE_TYPES[instance_type]
    cpus = info["VCpuInfo"]
    architecture = info["ProcessorInfo"]["SupportedArchitectures"][0]
    return Shape(
        int(cpus["DefaultVCpus"]),
        int(info["MemoryInfo"]["SizeInMiB"]),
        int(cpus.get("DefaultThreadsPerCore", 1)),
        str(architecture),
    )


def zone_of_subnet(region: str, subnet_id: str) -> str:
    return str(ec2_backends[DEFAULT_ACCOUNT_ID][region].get_subnet(subnet_id).availability_zone)


def zones(region: str) -> list[str]:
    """All zones of a region."""
    found = ec2_backends[DEFAULT_ACCOUNT_ID][region].describe_availability_zones()
    return [str(zone.name) for zone in found]


def address_count(region: str) -> int:
    """How many Elastic IPs are allocated."""
    return len(ec2_backends[DEFAULT_ACCOUNT_ID][region].describe_addresses())


def has_profile(name: str) -> bool:
    """Whether IAM has an instance profile of that name."""
    found = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].get_instance_profiles()
    return any(one.name == name for one in found)


def role_of(profile: str) -> tuple[str, str] | None:
    """(role name, role id) of an instance profile, named or by ARN; None without one."""
    for one in iam_backends[DEFAULT_ACCOUNT_ID]["aws"].get_instance_profiles():
        if profile in (one.name, one.arn) and one.roles:
            return str(one.roles[0].name), str(one.roles[0].id)
    return None
