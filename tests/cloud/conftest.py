"""A region of moto's AWS as `cloud setup` leaves it, a clock that only tests move, and faults."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import moto.ec2.models.amis
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models.amis import AmiBackend
from moto.utilities.utils import load_resource

from cloud import own_answers
from cloud.account.policies import render
from cloud.aws import Aws
from cloud.model import Identity, LaunchOrder, Region
from cloud.settings import Home, Owner, Settings

REGION = Region("us-east-1")
OWNER = Owner(chain_id=31337, contract="0xC0FFEE", provider="0xP0")


@dataclass
class FakeClock:
    """Time that passes only in `sleep` and when a test says so."""

    time: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


Hook = Callable[[dict[str, Any]], None]


class Killed(BaseException):
    """The process is dead: nothing of it runs any more, its `finally` neither."""


class Faults:
    """Breaks calls of one Aws on demand, through botocore's own event hooks.

    `before` runs before the call is sent: what it raises means that nothing was done.
    `after` runs on the reply of a call that was done: what it raises means a lost reply.
    """

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._before: dict[str, list[Hook]] = {}
        self._after: dict[str, list[Hook]] = {}
        self._dies_after = ""
        self._dead = False

    def watch(self, service: str, region: Region = REGION) -> None:
        client = self.aws._clients._client(service, region)  # type: ignore[arg-type]  # a Service
        client.meta.events.register("provide-client-params", self._on_params)
        client.meta.events.register("after-call", self._on_reply)

    def before(self, call: str, *hooks: Hook) -> None:
        self._before.setdefault(call, []).extend(hooks)

    def after(self, call: str, *hooks: Hook) -> None:
        self._after.setdefault(call, []).extend(hooks)

    def die_after(self, call: str) -> None:
        """The process is killed when this call was done, before it hears so; none follows."""
        self._dies_after = call

    def calls(self, name: str) -> list[dict[str, Any]]:
        return [params for call, params in self.seen if call == name]

    def _on_params(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.seen.append((model.name, dict(params)))
        if self._dead:
            raise Killed(model.name)
        if hooks := self._before.get(model.name):
            hooks.pop(0)(params)

    def _on_reply(self, model: Any, **_: Any) -> None:
        if model.name == self._dies_after:
            self._dead = True
            raise Killed(model.name)
        if hooks := self._after.get(model.name):
            hooks.pop(0)({})


def answer(code: str, status: int = 400) -> Hook:
    """AWS answers this code."""

    def raise_it(_params: dict[str, Any]) -> None:
        raise ClientError(
            {
                "Error": {"Code": code, "Message": "said the test"},
                "ResponseMetadata": {  # type: ignore[typeddict-item]  # the rest is not read
                    "HTTPStatusCode": status
                },
            },
            "Call",
        )

    return raise_it


def fine(_params: dict[str, Any]) -> None:
    """Nothing happens."""


def order(job: int = 7, *, attempt: int = 1, deadline: float = 0.0, **changes: Any) -> LaunchOrder:
    identity = Identity(OWNER.chain_id, OWNER.contract, OWNER.provider, job, 1, attempt)
    base: dict[str, Any] = {"region": REGION, "instance_type": "c6a.xlarge", "first_zone": None}
    return LaunchOrder(identity=identity, deadline=deadline, **(base | changes))


def user_data(order: LaunchOrder, home: Home) -> bytes:
    return f"#!/bin/sh\n# {home.bucket} {home.host_prefix}\n".encode()


def settings(state_dir: Path, **changes: Any) -> Settings:
    return replace(Settings(owner=OWNER, regions=(REGION,), state_dir=state_dir), **changes)


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    """Every session of boto3 reads megabytes of service models anew; here they share them."""
    loader = functools.cache(botocore.session.create_loader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", loader)
        # Two thousand images made for each region of each test, and few are ever asked for.
        patch.setattr(moto.ec2.models.amis, "AMIS", [])
        patch.setattr(moto.ec2.models.amis, "load_resource", _few_images)
        patch.setattr(AmiBackend, "create_image", _image_with_tagged_snapshot)
        yield


_CREATE_IMAGE = AmiBackend.create_image


def _image_with_tagged_snapshot(
    self: Any, instance: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Any:
    """EC2 tags the snapshots of a new image when asked; moto refuses to be asked."""
    tags = {one["ResourceType"]: one["Tags"] for one in tag_specifications}
    named = [{"ResourceType": "image", "Tags": tags.get("image", [])}]
    image = _CREATE_IMAGE(self, instance, name, description, named)
    image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in tags.get("snapshot", [])})
    return image


def _few_images(name: str) -> list[dict[str, Any]]:
    return [dict(image) for image in _amazon_linux(name)]  # moto writes into them


@functools.cache
def _amazon_linux(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load_resource(name)
    return [image for image in found if image["name"].startswith("al2023-ami-")]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@functools.cache
def client(service: str) -> Any:
    """One client for all tests: making one costs more than what most of them ask of it."""
    make: Any = boto3.client
    return make(
        service, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture
def region(mocked: None) -> None:
    """What setup makes, made by hand so that these tests do not lean on it."""
    iam, ec2 = client("iam"), client("ec2")
    iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="oyster-host")
    client("s3").create_bucket(Bucket=f"oyster-123456789012-{REGION}")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.create_security_group(GroupName="oyster-host", Description="hosts", VpcId=vpc)


# What an operation on an object asks for (S3 User Guide, "Required permissions").
_RIGHTS = {
    "GetObject": "s3:GetObject", "HeadObject": "s3:GetObject", "DeleteObject": "s3:DeleteObject",
    "PutObject": "s3:PutObject", "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
}  # fmt: skip


@functools.cache
def _agents_rights() -> list[tuple[str, str]]:
    """(action, pattern of resources), of the policy that the agent has."""
    document = render("agent", account="123456789012", prefix="oyster")

    def many(one: Any) -> list[str]:
        return one if isinstance(one, list) else [one]

    return [
        (action, resource)
        for statement in document["Statement"]
        for action in many(statement["Action"])
        for resource in many(statement["Resource"])
    ]


def _refused_as_the_policy_does(params: dict[str, Any], model: Any, **_: Any) -> None:
    right, arn = _RIGHTS.get(model.name), f"arn:aws:s3:::{params.get('Bucket')}/{params.get('Key')}"
    if right and not any(right == one and fnmatchcase(arn, of) for one, of in _agents_rights()):
        answer("AccessDenied", 403)(params)


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto lets everybody do all; of objects S3 refuses what the agent's policy does not name."""
    install = own_answers.install

    def installed(made: Any) -> None:
        install(made)
        if made.meta.service_model.service_name == "s3":
            made.meta.events.register_last("provide-client-params", _refused_as_the_policy_does)

    monkeypatch.setattr(own_answers, "install", installed)


@pytest.fixture
def make_aws(
    region: None, bounded: None, tmp_path: Path, clock: FakeClock
) -> Iterator[Callable[..., Aws]]:
    made: list[Aws] = []

    def make(**changes: Any) -> Aws:
        made.append(Aws(settings(tmp_path / "state", **changes), user_data, clock))
        return made[-1]

    yield make
    for aws in made:
        aws.close()


@pytest.fixture
def aws(make_aws: Callable[..., Aws]) -> Aws:
    return make_aws()


@pytest.fixture
def faults(aws: Aws) -> Faults:
    found = Faults(aws)
    found.watch("ec2")
    return found
