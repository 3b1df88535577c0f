"""Lean reading of listings: what botocore reads, nothing twice, and strange answers left to it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import pytest
from moto import mock_aws

from cloud import lean
from cloud.lean import Memo, Parts, every

pytestmark = pytest.mark.unit

REGION = "us-east-1"


def _both(service: str) -> tuple[Any, Any]:
    plain, quick = (boto3.client(service, region_name=REGION) for _ in range(2))  # type: ignore[call-overload]  # a name
    lean.install(quick, service, nullcontext())
    return plain, quick


def _same(short: Any, whole: Any) -> None:
    """Everything that `short` has is what `whole` has."""
    if isinstance(short, dict):
        assert set(short) <= set(whole)
        for name in short:
            _same(short[name], whole[name])
    elif isinstance(short, (list, tuple, Parts)):
        assert len(short) == len(whole)
        for one, other in zip(short, whole, strict=True):
            _same(one, other)
    else:
        assert short == whole


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield


@pytest.mark.usefixtures("_aws")
def test_instances__tags_of_every_kind__are_what_botocore_reads() -> None:
    plain, quick = _both("ec2")
    tags = [{"Key": "a&b", "Value": "</item><item><reservationId>"}, {"Key": "ü", "Value": ""}]
    image = plain.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for count in (1, 3):
        plain.run_instances(
            ImageId=image,
            MinCount=count,
            MaxCount=count,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
    whole, short = plain.describe_instances(), quick.describe_instances()
    assert isinstance(short["Reservations"], Parts)
    assert [len(one["Instances"]) for one in short["Reservations"]] == [1, 3]
    _same(short["Reservations"], whole["Reservations"])
    first = short["Reservations"][0]["Instances"][0]
    assert {"InstanceId", "State", "Placement", "LaunchTime", "Tags", "InstanceType"} <= set(first)
    checks = quick.describe_instance_status()["InstanceStatuses"]
    _same(checks, plain.describe_instance_status()["InstanceStatuses"])
    assert len(checks) == 4
    pages = list(quick.get_paginator("describe_instance_status").paginate())
    assert sum(len(one) for one in every(pages, "InstanceStatuses")) == 4


@pytest.mark.usefixtures("_aws")
def test_instances__none__is_an_empty_list() -> None:
    _, quick = _both("ec2")
    assert list(quick.describe_instances()["Reservations"]) == []


@pytest.mark.usefixtures("_aws")
def test_objects__over_pages__are_what_botocore_reads() -> None:
    plain, quick = _both("s3")
    plain.create_bucket(Bucket="box")
    keys = ["hosts/A:i-1/status.json", "a&b <c>.json", "ü+ %20"]
    for key in keys:
        plain.put_object(Bucket="box", Key=key, Body=b"x")
    asked = {"Bucket": "box", "PaginationConfig": {"PageSize": 2}}
    shorts, wholes = (
        [found for page in one.get_paginator("list_objects_v2").paginate(**asked)
         for found in page.get("Contents", [])]
        for one in (quick, plain)
    )  # fmt: skip
    _same(shorts, wholes)
    assert {one["Key"] for one in shorts} == set(keys)
    with pytest.raises(plain.exceptions.NoSuchBucket):
        quick.list_objects_v2(Bucket="another")
    empty = quick.list_objects_v2(Bucket="box", Prefix="none/")
    assert empty.get("Contents", []) == []


class _Turn(AbstractContextManager[None]):
    """Says when it begins and ends."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __enter__(self) -> None:
        self._said.append("begins")

    def __exit__(self, *_: object) -> None:
        self._said.append("ends")


@pytest.mark.usefixtures("_aws")
def test_listings__of_clients_with_one_turn__are_read_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    handlers = {"DescribeInstances": lambda **_: said.append("reads")}
    monkeypatch.setattr(lean, "_HANDLERS", {"ec2": handlers})
    turn = _Turn(said)
    for region in (REGION, "eu-west-1"):
        quick: Any = boto3.client("ec2", region_name=region)
        lean.install(quick, "ec2", turn)
        quick.describe_instances()
    assert said == ["begins", "reads", "ends"] * 2


def test_memo__an_item_that_did_not_change__is_not_read_again() -> None:
    read: list[str] = []

    def text(item: bytes) -> dict[str, str]:
        return {"text": ET.fromstring(item).text or ""}

    def note(item: dict[str, str]) -> str:
        read.append(item["text"])
        return item["text"].upper()

    memo: Memo[str] = Memo(note)
    assert memo.over([Parts([b"<a>x</a>", b"<a>y</a>"], text)]) == ["X", "Y"]
    assert memo.over([Parts([b"<a>y</a>", b"<a>z</a>"], text)]) == ["Y", "Z"]
    assert read == ["x", "y", "z"]
    assert memo.over([[{"text": "plain"}]]) == ["PLAIN"]
    assert memo.over([Parts([b"<a>y</a>"], text)]) == ["Y"]
    assert read[-1] == "y"  # what the last listing did not have is forgotten
