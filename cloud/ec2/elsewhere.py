"""Instances and addresses in this account that another program launched, found by its tags.

For taking over from it: listed, ended and given back one by one, and never by a tag alone: whoever
ends one has looked at what replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cloud.clients import Calls
from cloud.kinds import Missing
from cloud.model import GONE, InstanceId, InstanceState, Region

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeInstancesRequestTypeDef,
        FilterTypeDef,
        TagTypeDef,
    )

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Other:
    """One of its instances, an hour or so after its end too."""

    id: InstanceId
    region: Region
    instance_type: str
    state: InstanceState
    ip: str
    tags: Mapping[str, str]

    @property
    def there(self) -> bool:
        """Whether it is billed, or able to run again."""
        return self.state not in GONE


@dataclass(frozen=True, slots=True)
class OtherAddress:
    """One of its Elastic IPs."""

    allocation: str
    region: Region
    ip: str
    association: str
    instance: str
    tags: Mapping[str, str]


class Elsewhere:
    """`calls` are made with whatever credentials there are: the agent's own policy allows none of
    what is changed here."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def instances(self, region: Region, tags: Mapping[str, str]) -> Sequence[Other]:
        """Those with all of these tags, in any state. Raises RetryLater."""
        filters = _filters(tags)
        filters.append({"Name": "instance-state-name", "Values": [s.value for s in InstanceState]})
        ec2 = self._calls.clients.ec2(region)
        found: list[Other] = []
        request: DescribeInstancesRequestTypeDef = {"Filters": filters, "MaxResults": PAGE}
        while True:
            answer = await self._calls.ask(
                region, "DescribeInstances", f"listing other instances in {region}",
                partial(ec2.describe_instances, **request),
            )  # fmt: skip
            for reservation in answer["Reservations"]:
                found += [_other(region, each) for each in reservation.get("Instances", [])]
            token = answer.get("NextToken") or ""
            if not token:
                return found
            request = {**request, "NextToken": token}

    async def addresses(self, region: Region, tags: Mapping[str, str]) -> Sequence[OtherAddress]:
        """Elastic IPs with all of these tags. Raises RetryLater."""
        ec2, filters = self._calls.clients.ec2(region), _filters(tags)
        answer = await self._calls.ask(
            region, "DescribeAddresses", f"listing other addresses in {region}",
            lambda: ec2.describe_addresses(Filters=filters),
        )  # fmt: skip
        return [
            OtherAddress(
                one["AllocationId"], region, one.get("PublicIp", ""), one.get("AssociationId", ""),
                one.get("InstanceId", ""), _tags(one.get("Tags", [])),
            )
            for one in answer["Addresses"]
            if "AllocationId" in one
        ]  # fmt: skip

    async def end(self, one: Other) -> None:
        """Terminate it; one that is gone is fine. Raises RetryLater, Refused (it is protected)."""
        ec2 = self._calls.clients.ec2(one.region)
        try:
            await self._calls.ask(
                one.region, "TerminateInstances", f"terminating {one.id}",
                lambda: ec2.terminate_instances(InstanceIds=[one.id]),
            )  # fmt: skip
        except Missing:
            return

    async def release(self, one: OtherAddress) -> None:
        """Give an address back; one that is gone is fine. Raises RetryLater."""
        ec2 = self._calls.clients.ec2(one.region)
        doing = f"releasing {one.ip}"
        try:
            if one.association:
                await self._calls.ask(
                    one.region, "DisassociateAddress", doing,
                    lambda: ec2.disassociate_address(AssociationId=one.association),
                )  # fmt: skip
            await self._calls.ask(
                one.region, "ReleaseAddress", doing,
                lambda: ec2.release_address(AllocationId=one.allocation),
            )  # fmt: skip
        except Missing:
            return


def _filters(tags: Mapping[str, str]) -> list[FilterTypeDef]:
    return [{"Name": f"tag:{name}", "Values": [value]} for name, value in sorted(tags.items())]


def _tags(found: Sequence[TagTypeDef]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in found if "Key" in tag}


def _other(region: Region, found: Mapping[str, object]) -> Other:
    state: object = found.get("State")
    name = state.get("Name") if isinstance(state, dict) else None
    tags = found.get("Tags")
    return Other(
        InstanceId(str(found["InstanceId"])), region, str(found.get("InstanceType", "")),
        InstanceState(str(name)), str(found.get("PublicIpAddress", "")),
        _tags(tags if isinstance(tags, list) else []),
    )  # fmt: skip
