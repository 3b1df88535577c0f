"""Whether the agent may do what it does, found out without doing it.

EC2 answers DryRun for every call that changes something; the launch itself is rehearsed by
`Instances.rehearse`. S3 knows no DryRun, so a few bytes are written, read and deleted under a key
of no host, for which the agent's policy has all three. What needs a thing that is not there (an
address to associate, an instance of ours to terminate) is named as not tried rather than called
fine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud import layout
from cloud.clients import Calls
from cloud.errors import would_work
from cloud.kinds import Missing, NotSetUp
from cloud.model import Identity, InstanceId, Region
from cloud.settings import Account, Settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import TagSpecificationTypeDef, TagTypeDef

PROBE = b"written by oyster-provider doctor; may be deleted"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Calls by IAM's names: what was found to be allowed, and what could not be tried now."""

    rehearsed: tuple[str, ...]
    not_tried: tuple[str, ...]


class Rehearsal:
    """Tries permissions in one region at a time."""

    def __init__(
        self, calls: Calls, settings: Settings, account: Callable[[], Awaitable[Account]]
    ) -> None:
        self._calls = calls
        self._settings = settings
        self._account = account

    async def allowed(
        self, region: Region, identity: Identity, instance: InstanceId | None
    ) -> Allowed:
        """What may be done there; `instance` is a live one of ours, if there is any.

        Raises NotAllowed with the call that is not allowed, NotSetUp, RetryLater.
        """
        await self._mailbox(region)
        done, left = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], []
        if instance is None:
            left.append("ec2:TerminateInstances")
        else:
            await self._terminate(region, instance)
            done.append("ec2:TerminateInstances")
        if self._settings.elastic_ips:
            await self._allocate(region, identity)
            done.append("ec2:AllocateAddress")
            left += ["ec2:AssociateAddress", "ec2:DisassociateAddress", "ec2:ReleaseAddress"]
        return Allowed(tuple(done), tuple(left))

    async def _mailbox(self, region: Region) -> None:
        account = await self._account()
        bucket, owner = account.bucket(region), account.id
        s3 = self._calls.clients.s3(region)

        def write_read_delete() -> None:
            s3.put_object(
                Bucket=bucket, Key=layout.PROBE, Body=PROBE, ExpectedBucketOwner=owner,
                ServerSideEncryption="AES256",
            )  # fmt: skip
            found = s3.get_object(Bucket=bucket, Key=layout.PROBE, ExpectedBucketOwner=owner)
            with found["Body"] as body:
                body.read()
            s3.delete_object(Bucket=bucket, Key=layout.PROBE, ExpectedBucketOwner=owner)

        doing = f"writing, reading and deleting {layout.PROBE} in {bucket}"
        try:
            await self._calls.clients.run(doing, write_read_delete)
        except Missing as fault:
            raise NotSetUp(f"{fault}; run `cloud setup`") from fault

    async def _terminate(self, region: Region, instance: InstanceId) -> None:
        ec2 = self._calls.clients.ec2(region)
        await self._calls.ask(
            region,
            "TerminateInstances",
            f"rehearsing the end of {instance}",
            lambda: would_work(
                lambda: ec2.terminate_instances(InstanceIds=[instance], DryRun=True)
            ),
        )

    async def _allocate(self, region: Region, identity: Identity) -> None:
        ec2 = self._calls.clients.ec2(region)
        tags: list[TagTypeDef] = [{"Key": k, "Value": v} for k, v in identity.tags().items()]
        specification: TagSpecificationTypeDef = {"ResourceType": "elastic-ip", "Tags": tags}
        await self._calls.ask(
            region,
            "AllocateAddress",
            f"rehearsing an address in {region}",
            lambda: would_work(
                lambda: ec2.allocate_address(
                    Domain="vpc",
                    DryRun=True,
                    TagSpecifications=[specification],
                )
            ),
        )
