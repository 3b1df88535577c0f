"""Every AWS call in the code is allowed by the policy of who makes it, and nothing more is.

The calls are found in the source: an attribute or a paginator named like an operation of a
service that the package has a client for. What IAM calls such a call is AWS's Service
Authorization Reference.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from cloud import layout
from cloud.account.policies import Name, Scope, render
from cloud.model import InstanceId, Region
from tests.trees import tree

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
CLOUD = ROOT / "cloud"
SERVICES = ("ec2", "s3", "iam", "sts", "ssm", "service-quotas", "pricing")
OPERATOR = {"account/setup", "account/teardown", "account/bake"}
# Who may make or remove the boundary could widen it: an administrator runs setup once.
ADMINISTRATOR = {"iam:CreatePolicy", "iam:DeletePolicy"}
# Bake publishes the program and looks up image, subnet and group like the agent does.
BAKE_BORROWS = {"ec2:DescribeSubnets", "ssm:GetParameter", "s3:PutObject", "ec2:TerminateInstances"}

# Where IAM's name is not service:Operation, or more than that is asked for.
NAMES: dict[str, set[str]] = {
    "sts:GetCallerIdentity": set(),  # allowed to everyone
    "service-quotas:GetServiceQuota": {"servicequotas:GetServiceQuota"},
    "ec2:RunInstances": {"ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"},
    "ec2:AllocateAddress": {"ec2:AllocateAddress", "ec2:CreateTags"},
    "iam:CreateRole": {"iam:CreateRole", "iam:TagRole"},
    "iam:CreateInstanceProfile": {"iam:CreateInstanceProfile", "iam:TagInstanceProfile"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:HeadObject": {"s3:GetObject"},
    "s3:CreateMultipartUpload": {"s3:PutObject"},
    "s3:UploadPart": {"s3:PutObject"},
    "s3:CompleteMultipartUpload": {"s3:PutObject"},
    "s3:ListParts": {"s3:ListMultipartUploadParts"},
    "s3:ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "s3:DeleteObjects": {"s3:DeleteObject"},
    "s3:GetPublicAccessBlock": {"s3:GetBucketPublicAccessBlock"},
    "s3:PutPublicAccessBlock": {"s3:PutBucketPublicAccessBlock"},
    "s3:GetBucketEncryption": {"s3:GetEncryptionConfiguration"},
    "s3:PutBucketEncryption": {"s3:PutEncryptionConfiguration"},
    "s3:GetBucketLifecycleConfiguration": {"s3:GetLifecycleConfiguration"},
    "s3:PutBucketLifecycleConfiguration": {"s3:PutLifecycleConfiguration"},
}


def test_agent_policy__every_call_of_the_agent__and_nothing_more() -> None:
    assert _allowed("agent") == _asked(set(_modules()) - OPERATOR)


def test_operator_policy__every_call_of_the_commands__and_nothing_more() -> None:
    assert _allowed("operator") == (_asked(OPERATOR) | BAKE_BORROWS) - ADMINISTRATOR


def test_host_policy__own_folder__is_all_it_may_write() -> None:
    allowed = {
        (action, resource)
        for statement in _statements("host")
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
    }
    bucket = "arn:aws:s3:::oyster-123456789012-*"
    assert allowed == {
        ("s3:GetObject", f"{bucket}/images/*"),
        ("s3:GetObject", f"{bucket}/params/*"),
        ("s3:GetObject", f"{bucket}/programs/*"),
        ("s3:GetObject", f"{bucket}/hosts/${{aws:userid}}/desired.json"),
        ("s3:PutObject", f"{bucket}/hosts/${{aws:userid}}/status.json"),
    }


# What the agent does with each kind of object (`cloud.layout`). It never reads init params back,
# which may be a user's secrets, nor the program, and what hosts write it does not.
_HOST = InstanceId("i-0123456789abcdef0")
MAILBOX = {
    layout.image_key("a" * 64): {"Get", "Put", "Delete"},
    layout.params_key("a" * 64): {"Put", "Delete"},
    layout.program_key("a" * 64): {"Put"},
    layout.owner_key({"a": "b"}): {"Put"},
    layout.desired_key("AROA", _HOST): {"Get", "Put", "Delete"},  # Get: for If-Match, says S3
    layout.status_key("AROA", _HOST): {"Get", "Delete"},
    layout.PROBE: {"Get", "Put", "Delete"},
    "anything/else": set(),
}


@pytest.mark.parametrize("key", MAILBOX)
def test_agent_policy__each_kind_of_object__is_used_as_the_mailbox_does(key: str) -> None:
    arn = f"arn:aws:s3:::oyster-123456789012-us-east-1/{key}"
    allowed = {
        verb
        for statement in _statements("agent")
        for verb in ("Get", "Put", "Delete")
        if f"s3:{verb}Object" in _list(statement["Action"])
        and any(fnmatchcase(arn, pattern) for pattern in _list(statement["Resource"]))
    }
    assert allowed == MAILBOX[key]


SCOPE = Scope(
    contract="0xC0FFEE",
    regions=(Region("us-east-1"), Region("eu-west-1")),
    types=("c6a.xlarge", "m6g.large"),
    subnets=("subnet-1", "subnet-2"),
)


def _launch(resource: str, scope: Scope = SCOPE) -> dict[str, Any]:
    """The one statement by which the agent may launch with this resource."""
    document = render("agent", account="123456789012", prefix="oyster", scope=scope)
    (found,) = [
        one
        for one in document["Statement"]
        if "ec2:RunInstances" in _list(one["Action"])
        and any(f":{resource}/" in text for text in _list(one["Resource"]))
    ]
    return dict(found)


def test_agent_policy__a_launch__is_of_what_the_configuration_names() -> None:
    tests = _launch("instance")["Condition"]
    assert tests["StringEquals"] == {
        "aws:RequestTag/oyster:contract": "0xc0ffee",
        "aws:RequestedRegion": ["us-east-1", "eu-west-1"],
        "ec2:InstanceType": ["c6a.xlarge", "m6g.large"],
        "ec2:MetadataHttpTokens": "required",
    }
    assert tests["ArnEquals"]["ec2:InstanceProfile"].endswith("instance-profile/oyster-host")
    assert _launch("image")["Condition"]["StringEquals"]["ec2:Owner"] == ["amazon", "123456789012"]
    group = _launch("security-group")["Condition"]["StringEquals"]
    assert group == {"aws:ResourceTag/oyster:setup": "oyster"}
    assert _launch("subnet")["Resource"] == [
        f"arn:aws:ec2:*:123456789012:subnet/{name}" for name in SCOPE.subnets
    ]
    assert _launch("volume")["Condition"]["Bool"] == {"ec2:Encrypted": "true"}


def test_agent_policy__an_image_by_its_id__is_that_image_whoever_made_it() -> None:
    found = _launch("image", replace(SCOPE, ami="ami-0abc"))
    assert found["Resource"] == "arn:aws:ec2:*::image/ami-0abc"
    assert "Condition" not in found


def test_agent_policy__nothing_configured__has_no_test_that_nothing_could_pass() -> None:
    tests = _launch("instance", Scope())["Condition"]["StringEquals"]
    assert tests == {"ec2:MetadataHttpTokens": "required"}
    assert _launch("subnet", Scope())["Resource"] == ["arn:aws:ec2:*:123456789012:subnet/*"]


def test_agent_policy__what_ends_or_moves__is_its_own() -> None:
    document = render("agent", account="123456789012", prefix="oyster", scope=SCOPE)
    changes = {"ec2:TerminateInstances", "ec2:ReleaseAddress", "ec2:AssociateAddress"}
    found = [one for one in document["Statement"] if changes & set(_list(one["Action"]))]
    assert len(found) == 2
    for statement in found:
        assert statement["Condition"]["Null"] == {"aws:ResourceTag/oyster:job": "false"}
        market = statement["Condition"]["StringEquals"]["aws:ResourceTag/oyster:contract"]
        assert market == "0xc0ffee"  # not that of another market's agent in this account


def test_operator_policy__the_hosts_role__is_never_made_wider_than_its_boundary() -> None:
    boundary = "arn:aws:iam::123456789012:policy/oyster-host-boundary"
    widens = {"iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"}
    found = [s for s in _statements("operator") if widens & set(_list(s["Action"]))]
    assert widens <= {action for statement in found for action in _list(statement["Action"])}
    for statement in found:
        assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    never = {"iam:AttachRolePolicy", "iam:CreatePolicy", "iam:DeleteRolePermissionsBoundary",
             "iam:UpdateAssumeRolePolicy", "iam:CreatePolicyVersion"}  # fmt: skip
    assert not never & _allowed("operator")
    (passes,) = [s for s in _statements("operator") if "iam:PassRole" in _list(s["Action"])]
    assert passes["Condition"]["StringEquals"] == {"iam:PassedToService": "ec2.amazonaws.com"}


def test_boundary__what_hosts_do__is_within_it() -> None:
    assert _allowed("host") <= _allowed("boundary")
    (most,) = _statements("boundary")
    root = str(most["Resource"]).removesuffix("*")
    for statement in _statements("host"):
        assert all(text.startswith(root) for text in _list(statement["Resource"]))


def test_host_policy__its_status__is_written_by_whole_puts_only() -> None:
    (writes,) = [s for s in _statements("host") if s["Action"] == "s3:PutObject"]
    # S3 user guide, "Enforce conditional writes": false for the calls of a multipart upload.
    assert writes["Condition"] == {"Bool": {"s3:ObjectCreationOperation": "true"}}


@pytest.mark.parametrize("name", ["agent", "host", "boundary", "operator", "trust", "bucket"])
def test_policies__rendered__leave_no_blank_and_no_wildcard_action(name: Name) -> None:
    document = render(name, account="123456789012", prefix="oyster", bucket="b")
    assert not re.search(r"@[A-Z]+@", str(document))
    allows = [s for s in document["Statement"] if s["Effect"] == "Allow"]
    assert not [a for s in allows for a in _list(s["Action"]) if "*" in a]


@pytest.mark.parametrize("name", ["agent", "operator"])
def test_policies__anything_that_changes__names_what_it_may_change(name: Name) -> None:
    for statement in _statements(name):
        if "*" in _list(statement["Resource"]):
            reads = ("Describe", "Get", "List")
            assert all(a.split(":")[1].startswith(reads) for a in _list(statement["Action"]))


def test_calls__known_ones__are_found() -> None:
    assert "ec2:RunInstances" in _asked({"ec2/instances"})
    assert "s3:PutObject" in _asked({"bucket/staging"})


def _asked(modules: set[str]) -> set[str]:
    return {
        action
        for module in modules
        for call in _calls(tree((CLOUD / f"{module}.py").read_text()))
        for action in NAMES.get(call, {call})
    }


def _calls(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        match node:
            case ast.Call(ast.Attribute(attr="get_paginator"), [ast.Constant(str(name))]):
                names.add(name)
    return {call for name in names for call in _operations().get(name, ())}


@functools.cache
def _operations() -> dict[str, list[str]]:
    """Python name -> service:Operation."""
    session = botocore.session.get_session()
    found: dict[str, list[str]] = {}
    for service in SERVICES:
        for operation in session.get_service_model(service).operation_names:
            found.setdefault(xform_name(operation), []).append(f"{service}:{operation}")
    return found


def _allowed(name: Name) -> set[str]:
    return {action for statement in _statements(name) for action in _list(statement["Action"])}


def _statements(name: Name) -> list[dict[str, Any]]:
    document = render(name, account="123456789012", prefix="oyster")
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _modules() -> list[str]:
    return [str(path.relative_to(CLOUD).with_suffix("")) for path in CLOUD.rglob("*.py")]
