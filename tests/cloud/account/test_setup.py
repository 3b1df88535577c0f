"""Setup and teardown on moto: what is missing is made, twice changes nothing, and it all goes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud.account.setup import Setup
from cloud.account.steps import Step, carry_out
from cloud.account.teardown import Teardown
from cloud.account.wanted import lifecycle
from cloud.clients import Clients
from cloud.model import Region
from cloud.settings import Settings
from faults import Refused
from tests.cloud.conftest import OWNER, REGION, order

pytestmark = pytest.mark.integration

REGIONS = (REGION, Region("eu-west-1"))
BUCKET = f"oyster-123456789012-{REGION}"


@pytest.fixture
def clients(mocked: None) -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


def _settings(**changes: Any) -> Settings:
    return Settings(OWNER, REGIONS, Path("/nowhere"), **changes)


def _do(steps: Any) -> list[Step]:
    done: list[Step] = []
    carry_out(steps, done.append)
    return [step for step in done if step.verb != "keep"]


def _set_up(clients: Clients, **changes: Any) -> list[Step]:
    return _do(Setup(clients, _settings(**changes)).plan())


def test_setup__empty_account__makes_everything_in_every_region(clients: Clients) -> None:
    done = _set_up(clients)
    assert {step.region for step in done if step.what == "bucket"} == set(REGIONS)
    s3 = boto3.client("s3", region_name=REGION)
    closed = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    assert len(closed) == 4
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {
        "",
        "hosts/",
        "images/",
        "owners/",
        "params/",
    }
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Deny"}
    iam = boto3.client("iam", region_name=REGION)
    profile = iam.get_instance_profile(InstanceProfileName="oyster-host")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["oyster-host"]


def test_setup__plan_alone__changes_nothing(clients: Clients) -> None:
    assert all(step.verb == "create" for step in Setup(clients, _settings()).plan())
    assert boto3.client("s3", region_name=REGION).list_buckets()["Buckets"] == []


def test_setup__again__changes_nothing(clients: Clients) -> None:
    _set_up(clients)
    assert {step.verb for step in Setup(clients, _settings()).plan()} == {"keep"}


def test_setup__ports_changed__opens_these_and_closes_others(clients: Clients) -> None:
    _set_up(clients, service_ports=((1300, 1300), (22, 22)))
    done = _set_up(clients, service_ports=((1300, 1300), (8443, 8443)))
    assert [(step.verb, step.what) for step in done] == [("change", "open ports")] * 2
    ec2 = boto3.client("ec2", region_name=REGION)
    filters: Any = [{"Name": "group-name", "Values": ["oyster-host"]}]
    group = ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]
    assert {rule["FromPort"] for rule in group["IpPermissions"]} == {1300, 8443}


def test_setup__someone_opened_the_bucket__closes_it(clients: Clients) -> None:
    _set_up(clients)
    s3 = boto3.client("s3", region_name=REGION)
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.delete_bucket_policy(Bucket=BUCKET)
    done = _set_up(clients)
    assert {step.what for step in done} == {"public access block", "policy"}


def test_teardown__after_setup_and_use__leaves_nothing(clients: Clients) -> None:
    _set_up(clients)
    s3 = boto3.client("s3", region_name=REGION)
    # moto takes a Deny whose condition does not hold for one that denies.
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="images/x", Body=b"x")
    s3.create_multipart_upload(Bucket=BUCKET, Key="images/y")
    ec2 = boto3.client("ec2", region_name=REGION)
    tags: Any = [{"Key": key, "Value": value} for key, value in OWNER.tags().items()]
    specification: Any = [{"ResourceType": "elastic-ip", "Tags": tags}]
    ec2.allocate_address(Domain="vpc", TagSpecifications=specification)
    _do(Teardown(clients, _settings()).plan())
    assert s3.list_buckets()["Buckets"] == []
    assert boto3.client("iam", region_name=REGION).list_roles()["Roles"] == []
    assert ec2.describe_addresses()["Addresses"] == []
    assert Teardown(clients, _settings()).plan() == []


def test_teardown__what_setup_did_not_make__stays(clients: Clients) -> None:
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=BUCKET)
    iam = boto3.client("iam", region_name=REGION)
    iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
    assert Teardown(clients, _settings()).plan() == []


def test_setup__the_hosts_role__is_within_its_boundary_though_it_was_made_without(
    clients: Clients,
) -> None:
    _set_up(clients)
    iam = boto3.client("iam")
    made = iam.get_role(RoleName="oyster-host")["Role"]["PermissionsBoundary"]
    arn = made["PermissionsBoundaryArn"]
    assert arn.endswith(":policy/oyster-host-boundary")
    iam.delete_role_permissions_boundary(RoleName="oyster-host")  # as earlier versions made it
    assert any("boundary of the role" in step.what for step in Setup(clients, _settings()).plan())
    _set_up(clients)
    again = iam.get_role(RoleName="oyster-host")["Role"]["PermissionsBoundary"]
    assert again["PermissionsBoundaryArn"] == arn


def test_lifecycle__unfinished_uploads__go_after_a_day() -> None:
    (rule,) = [rule for rule in lifecycle() if "AbortIncompleteMultipartUpload" in rule]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Filter"] == {"Prefix": ""}


@pytest.mark.parametrize("mark", ["tags", "role"])
def test_teardown__instance_in_another_group__is_refused_by_its_other_marks(
    clients: Clients, mark: str
) -> None:
    """As ours are launched: with a network interface, of which a filter by group may not know."""
    _set_up(clients)
    ec2 = boto3.client("ec2", region_name=REGION)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"Key": key, "Value": value} for key, value in order().identity.tags().items()]
    marks: dict[str, Any] = {
        "tags": {"TagSpecifications": [{"ResourceType": "instance", "Tags": tags}]},
        "role": {"IamInstanceProfile": {"Name": "oyster-host"}},
    }
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **marks[mark])
    with pytest.raises(Refused, match="still has 1 instances"):
        Teardown(clients, _settings()).plan()


def test_teardown__live_instances__is_refused(clients: Clients) -> None:
    _set_up(clients)
    ec2 = boto3.client("ec2", region_name=REGION)
    filters: Any = [{"Name": "group-name", "Values": ["oyster-host"]}]
    group = ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    with pytest.raises(Refused, match="still has 1 instances"):
        Teardown(clients, _settings()).plan()


def _builder_and_image(ec2: Any) -> str:
    """What a bake leaves when it is killed as soon as its image is asked for."""
    filters: Any = [{"Name": "group-name", "Values": ["oyster-host"]}]
    group = ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]
    base = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags: Any = [{"Key": "oyster:setup", "Value": "oyster"}]
    builder: str = ec2.run_instances(
        ImageId=base,
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[group],
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]["InstanceId"]
    kinds: Any = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
    ec2.create_image(InstanceId=builder, Name="oyster-host-x86_64-1", TagSpecifications=kinds)
    return builder


def test_teardown__after_a_bake_that_was_killed__leaves_no_builder_image_or_snapshot(
    clients: Clients,
) -> None:
    _set_up(clients)
    ec2 = boto3.client("ec2", region_name=REGION)
    own: Any = {"OwnerIds": ["self"], "Filters": [{"Name": "tag-key", "Values": ["oyster:setup"]}]}
    builder = _builder_and_image(ec2)
    boto3.client("s3", region_name=REGION).delete_bucket_policy(Bucket=BUCKET)
    assert len(ec2.describe_snapshots(**own)["Snapshots"]) == 1
    done = _do(Teardown(clients, _settings()).plan())
    assert [step.what for step in done][:3] == ["builder", "image", "snapshot"]
    (found,) = ec2.describe_instances(InstanceIds=[builder])["Reservations"][0]["Instances"]
    assert found["State"]["Name"] == "terminated"
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert ec2.describe_snapshots(**own)["Snapshots"] == []
    assert Teardown(clients, _settings()).plan() == []


class _Dead(BaseException):
    """The process was killed."""


class _Death:
    """Kills whoever uses `clients` after its write of a number, from 1; 0: never."""

    def __init__(self, clients: Clients) -> None:
        self._left = 0
        for made in (clients.ec2(REGION), clients.s3(REGION), clients.iam(REGION)):
            made.meta.events.register("after-call", self._answered)

    def _answered(self, model: Any, **_: Any) -> None:
        if model.name.startswith(("Describe", "Get", "Head", "List")):
            return
        self._left -= 1
        if self._left == 0:
            raise _Dead(model.name)

    def kills(self, number: int, do: Callable[[], object]) -> bool:
        """Whether `do` came as far as that write."""
        self._left = number
        try:
            do()
        except _Dead:
            return True
        self._left = 0
        return False


def test_setup__killed_after_any_write__again_it_is_whole_and_teardown_leaves_nothing(
    clients: Clients,
) -> None:
    settings = Settings(OWNER, (REGION,), Path("/nowhere"))
    death = _Death(clients)
    for number in itertools.count(1):
        if not death.kills(number, lambda: _do(Setup(clients, settings).plan())):
            break
        _do(Setup(clients, settings).plan())
        assert {step.verb for step in Setup(clients, settings).plan()} == {"keep"}
        clients.s3(REGION).delete_bucket_policy(Bucket=BUCKET)  # as above: moto
        _do(Teardown(clients, settings).plan())
        assert _left(clients) == [], f"killed after write {number}"
    assert number > 10


def test_teardown__killed_after_any_write__again_it_leaves_nothing(clients: Clients) -> None:
    settings = Settings(OWNER, (REGION,), Path("/nowhere"))
    death = _Death(clients)
    for number in itertools.count(1):
        _do(Setup(clients, settings).plan())
        clients.s3(REGION).delete_bucket_policy(Bucket=BUCKET)
        _builder_and_image(clients.ec2(REGION))
        if not death.kills(number, lambda: _do(Teardown(clients, settings).plan())):
            break
        _do(Teardown(clients, settings).plan())
        assert _left(clients) == [], f"killed after write {number}"
    assert _left(clients) == []
    assert number > 8


def _left(clients: Clients) -> list[str]:
    iam, s3 = clients.iam(REGION), clients.s3(REGION)
    left = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    left += [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]]
    left += [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    left += [
        one["ImageId"] for one in clients.ec2(REGION).describe_images(Owners=["self"])["Images"]
    ]
    groups = clients.ec2(REGION).describe_security_groups()["SecurityGroups"]
    return left + [group["GroupName"] for group in groups if group["GroupName"] != "default"]


@pytest.mark.parametrize("what", ["role", "instance profile", "security group"])
def test_setup__somebody_else_s_of_that_name__is_refused_and_stays(
    clients: Clients, what: str
) -> None:
    iam, ec2 = clients.iam(REGION), clients.ec2(REGION)
    if what == "role":
        iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
    elif what == "instance profile":
        iam.create_instance_profile(InstanceProfileName="oyster-host")
    else:
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        ec2.create_security_group(GroupName="oyster-host", Description="theirs", VpcId=vpc)
    with pytest.raises(Refused, match=f"{what} oyster-host.*not made by"):
        Setup(clients, _settings()).plan()
