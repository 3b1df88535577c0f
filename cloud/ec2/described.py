"""What EC2 says of instances, and the tags it is given, as this package's values and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.model import IMAGE_TAG, Identity, Instance, InstanceId, InstanceState, Region, Zone
from faults import printable

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        InstanceTypeDef,
        ReservationTypeDef,
        StateReasonTypeDef,
        TagSpecificationTypeDef,
    )

TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface")


def reserved(
    region: Region, nameless: dict[InstanceId, Region], reservation: ReservationTypeDef
) -> tuple[Instance, ...]:
    """Those of a reservation that are ours; notes in `nameless` which others run on, that are asked
    for by whose they are and do not say what for."""
    found = []
    for one in reservation["Instances"]:
        instance, name = instance_of(region, one), InstanceId(one["InstanceId"])
        if instance is None and one["State"]["Name"] not in _ENDED:
            nameless[name] = region
        else:
            nameless.pop(name, None)
        found += [instance] if instance is not None else []
    return tuple(found)


_ENDED = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


def tag_specifications(identity: Identity) -> list[TagSpecificationTypeDef]:
    """The identity for all that a launch creates, and a name for people."""
    tags = identity.tags()
    tags["Name"] = f"oyster job {identity.job} generation {identity.generation}"
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    return [{"ResourceType": kind, "Tags": pairs} for kind in TAGGED_AT_LAUNCH]  # type: ignore[typeddict-item]  # stubs list kinds by name


def instance_of(region: Region, found: InstanceTypeDef) -> Instance | None:
    """EC2's dictionary as a value; None when its tags are not (whole) ours."""
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", []) if "Key" in tag}
    identity = Identity.from_tags(tags)
    if identity is None:
        return None
    return Instance(
        id=InstanceId(found["InstanceId"]),
        region=region,
        zone=Zone(found["Placement"]["AvailabilityZone"]),
        instance_type=found["InstanceType"],
        state=InstanceState(found["State"]["Name"]),
        identity=identity,
        launched_at=found["LaunchTime"].timestamp(),
        public_ip=found.get("PublicIpAddress") or None,
        private_ip=found.get("PrivateIpAddress") or None,
        state_reason=_reason(found.get("StateReason", {})),
        image=tags.get(IMAGE_TAG, ""),
    )


def _reason(said: StateReasonTypeDef) -> str | None:
    """Code and message; EC2's messages mostly begin with the code."""
    code, message = said.get("Code", ""), said.get("Message", "")
    text = message if message.startswith(code) else f"{code}: {message}"
    return printable(text).strip(": ") or None
