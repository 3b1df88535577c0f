"""Remove what `cloud setup` made, and nothing else: by the tag `oyster:setup` = the prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cloud.clients import Clients
from cloud.errors import or_none, translated
from cloud.model import Region
from cloud.settings import Settings
from cloud.setup import POLICY, SETUP_TAG, Setup
from cloud.steps import Step, translated_step
from faults import Refused

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

LIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]


class Teardown:
    """Plans the end of every configured region. Blocking: the CLI is its only user."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._settings = settings

    def plan(self) -> Sequence[Step]:
        """What would go. Raises Refused while instances of the hosts' group are there."""
        account = Setup(self._clients, self._settings).account()
        steps: list[Step] = []
        with translated("looking at what is set up"):
            for region in self._settings.regions:
                self._refuse_live(region)
                steps += self._addresses(region)
                steps += self._group(region)
                steps += self._bucket(account, region)
            steps += self._role()
        return [translated_step(step) for step in steps]

    def _refuse_live(self, region: Region) -> None:
        pages = self._clients.ec2(region).get_paginator("describe_instances")
        filters: list[dict[str, object]] = [
            {"Name": "instance.group-name", "Values": [self._settings.security_group]},
            {"Name": "instance-state-name", "Values": LIVE},
        ]
        ids = [
            one["InstanceId"]
            for page in pages.paginate(Filters=filters)  # type: ignore[arg-type]  # such a dictionary
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        ]
        if ids:
            raise Refused(
                f"{region} still has {len(ids)} instances ({', '.join(ids[:3])}…); "
                "end their jobs first, then tear down"
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
                lambda allocation=allocation: ec2.release_address(AllocationId=allocation),  # type: ignore[misc]  # bound
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
                lambda group_id=group_id: ec2.delete_security_group(GroupId=group_id),  # type: ignore[misc]  # bound
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
