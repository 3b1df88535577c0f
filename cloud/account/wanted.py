"""What setup wants, as AWS's own values: which ports are open, what expires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloud import layout
from cloud.settings import PortRange

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import IpPermissionTypeDef

EXPIRE_DAYS = 30  # cloud.bucket.mailbox writes again after a week what is still wanted
UNFINISHED_DAYS = 1  # an upload takes minutes; parts of one that nobody ended cost money


def world_rules(ports: Sequence[PortRange]) -> list[IpPermissionTypeDef]:
    """These TCP ports for everyone, over IPv4 and IPv6; each range from first to last."""
    return [
        {
            "IpProtocol": "tcp",
            "FromPort": first,
            "ToPort": last,
            "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
        }
        for first, last in ports
    ]


def lifecycle() -> list[dict[str, Any]]:
    """What expires: documents, images and owners that nothing wrote again, uploads nobody ended."""
    expiring = [
        {
            "ID": f"expire-{prefix.rstrip('/')}",
            "Filter": {"Prefix": prefix},
            "Status": "Enabled",
            "Expiration": {"Days": EXPIRE_DAYS},
        }
        for prefix in (layout.HOSTS, layout.IMAGES, layout.OWNERS, layout.PARAMS)
    ]
    unfinished = {
        "ID": "abort-uploads",
        "Filter": {"Prefix": ""},
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    }
    return [*expiring, unfinished]


def ports_of(rules: Sequence[Any]) -> set[tuple[str, int, int, str]]:
    """Permissions as comparable values: protocol, from, to, source."""
    return {
        (rule["IpProtocol"], rule.get("FromPort", -1), rule.get("ToPort", -1), source)
        for rule in rules
        for source in [
            *(one["CidrIp"] for one in rule.get("IpRanges", [])),
            *(one["CidrIpv6"] for one in rule.get("Ipv6Ranges", [])),
            *(one["GroupId"] for one in rule.get("UserIdGroupPairs", [])),
            *(one["PrefixListId"] for one in rule.get("PrefixListIds", [])),
        ]
    }
