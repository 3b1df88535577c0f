"""What the agent needs in AWS and nobody has to click for: a bucket and a security group a region,
one role for the hosts. Looks first, then says what is missing or different, then does it.

Done twice it changes nothing. Everything carries the tag `oyster:setup` = the prefix, by which
teardown knows what it may remove.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cloud.account.policies import Name, partition_of, render
from cloud.account.steps import Step, nothing, translated_step
from cloud.account.wanted import lifecycle, ports_of, world_rules
from cloud.clients import Clients
from cloud.errors import or_none, translated
from cloud.kinds import NotAllowed
from cloud.model import TAG_PREFIX, Region
from cloud.settings import Settings
from faults import Refused

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import IpPermissionTypeDef
    from types_boto3_iam.client import IAMClient
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.literals import BucketLocationConstraintType

SETUP_TAG = f"{TAG_PREFIX}setup"
POLICY = "oyster-host"  # the role's inline policy


@dataclass(frozen=True, slots=True)
class Part:
    """One property of something: how to read it, what it should be, how to write it."""

    what: str
    read: Callable[[], object]
    wanted: object
    write: Callable[[], object]


class Setup:
    """Plans for every configured region. Blocking: the CLI is its only user."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._settings = settings

    def plan(self) -> Sequence[Step]:
        """What is there (keep), different (change) and missing (create), in the order to do it.

        Raises NotAllowed, OutcomeUnknown, Refused (a bucket of that name is someone else's).
        """
        account = self.account()
        with translated("looking at what is set up"):
            steps = list(self._role(account))
            for region in self._settings.regions:
                steps += self._bucket(account, region)
                steps += self._group(region)
        return [translated_step(step) for step in steps]

    def account(self) -> str:
        """The number of the account that the credentials are of."""
        sts = self._clients.sts(self._settings.regions[0])
        with translated("asking whose AWS credentials these are"):
            return sts.get_caller_identity()["Account"]

    def _document(self, name: Name, account: str, region: Region) -> dict[str, Any]:
        return render(
            name,
            account=account,
            prefix=self._settings.prefix,
            partition=partition_of(region),
            bucket=self._settings.bucket(account, region),
        )

    def _role(self, account: str) -> Iterator[Step]:
        region, name = self._settings.regions[0], self._settings.role
        iam = self._clients.iam(region)
        tags = [{"Key": SETUP_TAG, "Value": self._settings.prefix}]
        trust = json.dumps(self._document("trust", account, region))
        policy = self._document("host", account, region)
        role = or_none(lambda: iam.get_role(RoleName=name)["Role"])
        self._refuse_foreign(f"role {name}", role)
        yield from self._boundary(account, region, role)
        yield _create(
            region,
            "role",
            name,
            role,
            lambda: iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=trust,
                Description="Enclave hosts of oyster-provider: read what to run, say what runs",
                PermissionsBoundary=boundary_arn(self._settings, account),
                Tags=cast("Any", tags),
            ),
        )
        part = Part(
            "policy of the role",
            lambda: iam.get_role_policy(RoleName=name, PolicyName=POLICY)["PolicyDocument"],
            policy,
            lambda: iam.put_role_policy(
                RoleName=name, PolicyName=POLICY, PolicyDocument=json.dumps(policy)
            ),
        )
        yield _part(region, name, part)
        yield from self._profile(region, iam, name)

    def _boundary(
        self, account: str, region: Region, role: Mapping[str, Any] | None
    ) -> Iterator[Step]:
        """The most that the hosts' role can be given, whoever writes its policy.

        An administrator makes it once: who may make it could make it wide.
        """
        iam, arn = self._clients.iam(region), boundary_arn(self._settings, account)
        name, document = arn.rpartition("/")[2], self._document("boundary", account, region)
        tags = [{"Key": SETUP_TAG, "Value": self._settings.prefix}]
        yield _create(
            region,
            "permissions boundary",
            name,
            or_none(lambda: iam.get_policy(PolicyArn=arn)),
            lambda: iam.create_policy(
                PolicyName=name,
                PolicyDocument=json.dumps(document),
                Description="The most that enclave hosts of oyster-provider may ever do",
                Tags=cast("Any", tags),
            ),
        )
        within = role is None or "PermissionsBoundary" in role
        if not within:
            yield Step(
                "change",
                "permissions boundary of the role",
                self._settings.role,
                region,
                lambda: iam.put_role_permissions_boundary(
                    RoleName=self._settings.role, PermissionsBoundary=arn
                ),
            )

    def _profile(self, region: Region, iam: IAMClient, name: str) -> Iterator[Step]:
        profile = or_none(
            lambda: iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        )
        self._refuse_foreign(f"instance profile {name}", profile)
        tags = [{"Key": SETUP_TAG, "Value": self._settings.prefix}]
        yield _create(
            region,
            "instance profile",
            name,
            profile,
            lambda: iam.create_instance_profile(InstanceProfileName=name, Tags=cast("Any", tags)),
        )
        roles = [role["RoleName"] for role in profile["Roles"]] if profile else []
        yield _create(
            region,
            "role in the instance profile",
            name,
            name in roles or None,
            lambda: iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name),
        )

    def _bucket(self, account: str, region: Region) -> Iterator[Step]:
        s3 = self._clients.s3(region)
        name = self._settings.bucket(account, region)
        try:
            there = or_none(lambda: s3.head_bucket(Bucket=name, ExpectedBucketOwner=account))
        except NotAllowed as fault:
            raise Refused(
                f"bucket {name} is not this account's, or not to be seen: {fault}; "
                "choose another aws.bucket_prefix"
            ) from fault
        yield _create(region, "bucket", name, there, lambda: _create_bucket(s3, name, region))
        for part in self._bucket_parts(s3, name, account, region):
            yield _part(region, name, part)

    def _bucket_parts(
        self, s3: S3Client, name: str, account: str, region: Region
    ) -> Iterator[Part]:
        # First of all: teardown removes what has them, should setup end early.
        tags: Any = [{"Key": SETUP_TAG, "Value": self._settings.prefix}]
        yield Part(
            "tags",
            lambda: s3.get_bucket_tagging(Bucket=name)["TagSet"],
            tags,
            lambda: s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags}),
        )
        closed: Any = {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
        yield Part(
            "public access block",
            lambda: s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"],
            closed,
            lambda: s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=closed),
        )
        encryption: Any = {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
        yield Part(
            "encryption",
            lambda: s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"][
                "Rules"
            ][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"],
            "AES256",
            lambda: s3.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration=encryption
            ),
        )
        owner: Any = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        yield Part(
            "ownership",
            lambda: s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"],
            owner,
            lambda: s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=owner),
        )
        rules: Any = lifecycle()
        yield Part(
            "expiry",
            lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"],
            rules,
            lambda: s3.put_bucket_lifecycle_configuration(
                Bucket=name, LifecycleConfiguration={"Rules": rules}
            ),
        )
        # It refuses what does not come over TLS, which at a plain http:// endpoint is everything.
        if s3.meta.endpoint_url.startswith("https:"):
            policy = self._document("bucket", account, region)
            yield Part(
                "policy",
                lambda: json.loads(s3.get_bucket_policy(Bucket=name)["Policy"]),
                policy,
                lambda: s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy)),
            )

    def _group(self, region: Region) -> Iterator[Step]:
        ec2, name = self._clients.ec2(region), self._settings.security_group
        vpc = self._vpc(region)
        found = ec2.describe_security_groups(
            Filters=[
                {"Name": "group-name", "Values": [name]},
                {"Name": "vpc-id", "Values": [vpc]},
            ]
        )["SecurityGroups"]
        self._refuse_foreign(f"security group {name} in {region}", found[0] if found else None)
        yield _create(
            region, "security group", name, found or None, lambda: self._create_group(region, vpc)
        )
        open_now = found[0]["IpPermissions"] if found else []
        wanted = world_rules(self._settings.service_ports)
        yield _part(
            region,
            name,
            Part(
                "open ports",
                lambda: ports_of(open_now) or None,
                ports_of(wanted) or None,
                lambda: self._open(region, vpc, wanted),
            ),
        )

    def _refuse_foreign(self, what: str, found: Mapping[str, Any] | None) -> None:
        """Hosts must not get a role or ports that somebody else chose, nor somebody else ours.

        Raises Refused."""
        tag = {"Key": SETUP_TAG, "Value": self._settings.prefix}
        if found is not None and tag not in found.get("Tags", []):
            raise Refused(
                f"{what} is there and was not made by `cloud setup`: choose another "
                f"aws.bucket_prefix, or tag it {SETUP_TAG}={self._settings.prefix} if it is yours"
            )

    def _vpc(self, region: Region) -> str:
        """The VPC of the configured subnets, else the default one."""
        ec2 = self._clients.ec2(region)
        ids = list(self._settings.subnets)
        chosen = (
            ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": ids}]) if ids else None
        )
        subnets = chosen["Subnets"] if chosen else []
        if not subnets:
            default = [{"Name": "default-for-az", "Values": ["true"]}]
            subnets = ec2.describe_subnets(Filters=cast("Any", default))["Subnets"]
        vpcs = {subnet["VpcId"] for subnet in subnets}
        if len(vpcs) != 1:
            raise Refused(
                f"{region}: the subnets that serve are in {len(vpcs)} VPCs, one is needed; "
                "name subnets of one VPC in aws.subnets"
            )
        return vpcs.pop()

    def _create_group(self, region: Region, vpc: str) -> None:
        tags = [{"Key": SETUP_TAG, "Value": self._settings.prefix}]
        self._clients.ec2(region).create_security_group(
            GroupName=self._settings.security_group,
            Description="Enclave hosts: service ports only, no administration port",
            VpcId=vpc,
            TagSpecifications=cast("Any", [{"ResourceType": "security-group", "Tags": tags}]),
        )

    def _open(self, region: Region, vpc: str, wanted: list[IpPermissionTypeDef]) -> None:
        """The wanted ports and no others."""
        ec2 = self._clients.ec2(region)
        group = ec2.describe_security_groups(
            Filters=[
                {"Name": "group-name", "Values": [self._settings.security_group]},
                {"Name": "vpc-id", "Values": [vpc]},
            ]
        )["SecurityGroups"][0]
        if too_many := group["IpPermissions"]:
            ec2.revoke_security_group_ingress(
                GroupId=group["GroupId"], IpPermissions=cast("Any", too_many)
            )
        if wanted:
            ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=wanted)


def boundary_arn(settings: Settings, account: str) -> str:
    """The managed policy that bounds the hosts' role."""
    partition = partition_of(settings.regions[0])
    return f"arn:{partition}:iam::{account}:policy/{settings.role}-boundary"


def _create(
    region: Region, what: str, name: str, there: object | None, do: Callable[[], object]
) -> Step:
    if there is None:
        return Step("create", what, name, region, do)
    return Step("keep", what, name, region, nothing)


def _part(region: Region, name: str, part: Part) -> Step:
    found = or_none(part.read)
    if found == part.wanted:
        return Step("keep", part.what, name, region, nothing)
    return Step("create" if found is None else "change", part.what, name, region, part.write)


def _create_bucket(s3: S3Client, name: str, region: Region) -> None:
    if region == "us-east-1":  # the one region that must not be named (CreateBucket)
        s3.create_bucket(Bucket=name)
        return
    where = cast("BucketLocationConstraintType", region)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": where})
