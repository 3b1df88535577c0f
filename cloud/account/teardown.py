"""Remove what `cloud setup` and `cloud bake` made, and nothing else: by the tag `oyster:setup`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cloud.account.setup import POLICY, SETUP_TAG, Setup, boundary_arn
from cloud.account.steps import Step, translated_step
from cloud.clients import Clients
from cloud.errors import or_none, translated
from cloud.model import Region
from cloud.settings import Settings
from faults import Refused

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, TagTypeDef
    from types_boto3_s3.client import S3Client

LIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]


class Teardown:
    """Plans the end of every configured region. Blocking: the CLI is its only user."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._settings = settings
        self._made: TagTypeDef = {"Key": SETUP_TAG, "Value": settings.prefix}

    def plan(self) -> Sequence[Step]:
        """What would go. Raises Refused while hosts are there."""
        account = Setup(self._clients, self._settings).account()
        steps: list[Step] = []
        with translated("looking at what is set up"):
            for region in self._settings.regions:
                steps += self._builders(self._live(region), region)
                steps += self._images(region)
                steps += self._addresses(region)
                steps += self._group(region)
                steps += self._bucket(account, region)
            steps += self._role()
            steps += self._boundary(account)
        return [translated_step(step) for step in steps]

    def _live(self, region: Region) -> Sequence[InstanceTypeDef]:
        """What lives and is ours by any of its marks: tags, role or group.

        All that lives is listed and looked at here: a filter that a service does not know, or knows
        otherwise, would answer with nothing, and nothing is what lets a teardown go on.
        """
        pages = self._clients.ec2(region).get_paginator("describe_instances")
        filters: list[FilterTypeDef] = [{"Name": "instance-state-name", "Values": LIVE}]
        return [
            one
            for page in pages.paginate(Filters=filters)
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
            if self._ours(one)
        ]

    def _ours(self, instance: InstanceTypeDef) -> bool:
        tags = {tag.get("Key", ""): tag.get("Value", "") for tag in instance.get("Tags", [])}
        owner = {key: value for key, value in self._settings.owner.tags().items() if value}
        profile = instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2]
        groups = {group.get("GroupName") for group in instance.get("SecurityGroups", [])}
        return (
            tags.get(SETUP_TAG) == self._settings.prefix
            or owner.items() <= tags.items()
            or profile == self._settings.role
            or self._settings.security_group in groups
        )

    def _builders(self, live: Sequence[InstanceTypeDef], region: Region) -> Iterator[Step]:
        """What killed bakes left. Raises Refused when something else lives: hosts."""
        hosts = [one["InstanceId"] for one in live if self._made not in one.get("Tags", [])]
        if hosts:
            raise Refused(
                f"{region} still has {len(hosts)} instances ({', '.join(hosts[:3])}…); "
                "end their jobs first, then tear down"
            )
        ids = [one["InstanceId"] for one in live]
        if ids:
            yield Step("delete", "builder", ", ".join(ids), region, lambda: self._end(region, ids))

    def _end(self, region: Region, ids: list[str]) -> None:
        """End instances and wait until they are gone, as the group can only then be removed."""
        ec2 = self._clients.ec2(region)
        ec2.terminate_instances(InstanceIds=ids)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)

    def _images(self, region: Region) -> Iterator[Step]:
        """What bakes made; also a snapshot whose image went before its own turn came."""
        ec2 = self._clients.ec2(region)
        filters: list[FilterTypeDef] = [
            {"Name": f"tag:{SETUP_TAG}", "Values": [self._settings.prefix]}
        ]
        for image in ec2.describe_images(Owners=["self"], Filters=filters)["Images"]:
            image_id = image["ImageId"]
            yield Step(
                "delete",
                "image",
                f"{image['Name']} ({image_id})",
                region,
                partial(ec2.deregister_image, ImageId=image_id),
            )
        for snapshot in ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]:
            snapshot_id = snapshot["SnapshotId"]
            yield Step(
                "delete",
                "snapshot",
                snapshot_id,
                region,
                partial(ec2.delete_snapshot, SnapshotId=snapshot_id),
            )

    def _addresses(self, region: Region) -> Iterator[Step]:
        ec2 = self._clients.ec2(region)
        filters = [
            {"Name": f"tag:{name}", "Values": [value]}
            for name, value in self._settings.owner.tags().items()
            if value  # the operator may not have the provider's key at hand
        ]
        for address in ec2.describe_addresses(Filters=filters)["Addresses"]:  # type: ignore[arg-type]  # such dictionaries
            allocation = address["AllocationId"]
            yield Step(
                "delete",
                "address",
                address["PublicIp"],
                region,
                partial(ec2.release_address, AllocationId=allocation),
            )

    def _group(self, region: Region) -> Iterator[Step]:
        ec2 = self._clients.ec2(region)
        groups = ec2.describe_security_groups(
            Filters=[
                {"Name": "group-name", "Values": [self._settings.security_group]},
                {"Name": f"tag:{SETUP_TAG}", "Values": [self._settings.prefix]},
            ]
        )["SecurityGroups"]
        for group in groups:
            group_id = group["GroupId"]
            yield Step(
                "delete",
                "security group",
                f"{group['GroupName']} ({group_id})",
                region,
                partial(ec2.delete_security_group, GroupId=group_id),
            )

    def _bucket(self, account: str, region: Region) -> Iterator[Step]:
        s3, name = self._clients.s3(region), self._settings.bucket(account, region)
        tags = or_none(
            lambda: s3.get_bucket_tagging(Bucket=name, ExpectedBucketOwner=account)["TagSet"]
        )
        if tags and {"Key": SETUP_TAG, "Value": self._settings.prefix} in tags:
            yield Step("delete", "bucket and all in it", name, region, lambda: _empty(s3, name))

    def _role(self) -> Iterator[Step]:
        region, name = self._settings.regions[0], self._settings.role
        iam = self._clients.iam(region)
        ours = {"Key": SETUP_TAG, "Value": self._settings.prefix}
        profile = or_none(
            lambda: iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        )
        if profile and ours in profile.get("Tags", []):
            if profile["Roles"]:
                yield Step(
                    "delete",
                    "role in the instance profile",
                    name,
                    region,
                    lambda: iam.remove_role_from_instance_profile(
                        InstanceProfileName=name, RoleName=name
                    ),
                )
            yield Step(
                "delete",
                "instance profile",
                name,
                region,
                lambda: iam.delete_instance_profile(InstanceProfileName=name),
            )
        role = or_none(lambda: iam.get_role(RoleName=name)["Role"])
        if role and ours in role.get("Tags", []):
            yield Step("delete", "role", name, region, lambda: self._delete_role(region))

    def _boundary(self, account: str) -> Iterator[Step]:
        region, arn = self._settings.regions[0], boundary_arn(self._settings, account)
        iam = self._clients.iam(region)
        found = or_none(lambda: iam.get_policy(PolicyArn=arn)["Policy"])
        if found and {"Key": SETUP_TAG, "Value": self._settings.prefix} in found.get("Tags", []):
            name = arn.rpartition("/")[2]
            yield Step(
                "delete",
                "permissions boundary (by an administrator)",
                name,
                region,
                lambda: iam.delete_policy(PolicyArn=arn),
            )

    def _delete_role(self, region: Region) -> None:
        iam, name = self._clients.iam(region), self._settings.role
        or_none(lambda: iam.delete_role_policy(RoleName=name, PolicyName=POLICY))
        iam.delete_role(RoleName=name)


def _empty(s3: S3Client, name: str) -> None:
    """Objects, unfinished uploads, then the bucket."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        if found := page.get("Contents"):
            keys = [{"Key": one["Key"]} for one in found]
            s3.delete_objects(Bucket=name, Delete={"Objects": keys})  # type: ignore[typeddict-item]  # such dictionaries
    for uploads in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
        for upload in uploads.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=name)
