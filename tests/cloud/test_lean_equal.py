"""With and without the lean reader: bodies from a grammar, plain and mutilated, read alike."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import lean
from cloud.lean import Parts

pytestmark = pytest.mark.unit

HEADS = ('<?xml version="1.0" encoding="UTF-8"?>\n', '<?xml version="1.0"?>', "", "\n", "\ufeff")
TEXTS = (
    "plain", "", "a &amp; b", "&lt;item&gt;&lt;reservationId&gt;", "&quot;q&quot;", "&apos;", "ü",
    "&#61;", "&#x1F600;", "<![CDATA[<item>]]>", "a<!-- c -->b", "&bad;", "&lt;/reservationSet&gt;",
    "x>y", "a/>b", "]]>", " ", "\t", "\r\n", "\n", "7", "\x0b", "\u00a0", "2026-11-30T08:00:00Z",
)  # fmt: skip
TOKENS = ("", "<nextToken/>", "<nextToken></nextToken>", "<nextToken>a+b/c==</nextToken>",
          "<nextToken>a&amp;b</nextToken>", "<nextToken>a&quot;b&apos;</nextToken>",
          "<nextToken>abc&#61;</nextToken>")  # fmt: skip
TAILS = ("", "\n", "garbage", "<more/>", "<!-- end -->", "\x00")


# What botocore makes of a body that it can't read.
BROKEN = (
    BotoCoreError, ClientError, ResponseParserError, ValueError, TypeError, AttributeError,
    LookupError,
)  # fmt: skip


class _Raw(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


@dataclass
class Pair:
    """Two clients of a service that are answered what `body` says, one of them lean."""

    clients: tuple[Any, Any]
    body: bytes = b""
    status: int = 200

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        headers: Any = {"content-type": "text/xml", "content-length": str(len(self.body))}
        return AWSResponse(request.url, self.status, headers, _Raw(self.body))


@functools.cache
def _pair(service: str) -> Pair:
    make: Any = boto3.client
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    pair = Pair((make(service, config=config, **keys), make(service, config=config, **keys)))
    lean.install(pair.clients[0], service, nullcontext())
    for one in pair.clients:
        one.meta.events.register("before-send", pair.answer)
    return pair


def _shown(value: Any) -> str:
    """Times; botocore hands out whole elements where a member comes twice."""
    return str(value) if isinstance(value, datetime) else type(value).__name__


def _read(ask: Callable[[Any], Any], client: Any) -> str:
    try:
        return json.dumps(ask(client), default=_shown, sort_keys=True)
    except BROKEN as error:  # both have to say the same
        return re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")


def _same(service: str, ask: Callable[[Any], Any], body: str, status: int = 200) -> None:
    pair = _pair(service)
    pair.body, pair.status = body.encode(), status
    quick, plain = (_read(ask, client) for client in pair.clients)
    assert quick == plain


INSTANCE = {name for name, _ in lean._INSTANCE.values()}
INNER = {"State": ("Name",), "StateReason": ("Code", "Message"), "Placement": ("AvailabilityZone",),
         "CpuOptions": ("CoreCount", "ThreadsPerCore"), "IamInstanceProfile": ("Arn",)}  # fmt: skip


def _used(instance: Any) -> dict[str, Any]:
    """What of an instance `cloud` reads."""
    kept = {name: instance[name] for name in INSTANCE & set(instance)}
    for name, members in INNER.items():
        if name in kept:
            kept[name] = {one: kept[name][one] for one in members if one in kept[name]}
    return kept


def _instances(client: Any) -> Any:
    said = client.describe_instances()
    found = [[_used(i) for i in r.get("Instances", [])] for r in said.get("Reservations", [])]
    return found, said.get("NextToken")


CHECKS = ("SystemStatus", "InstanceStatus")


def _statuses(client: Any) -> Any:
    said = client.describe_instance_status()
    kept = [
        {
            "id": one.get("InstanceId"),
            "checks": [
                one.get(name, {}).get("Status") for name in ("SystemStatus", "InstanceStatus")
            ],
            "events": one.get("Events"),
        }
        for one in said.get("InstanceStatuses", [])
    ]
    return kept, said.get("NextToken")


def _objects(client: Any) -> Any:
    said = client.list_objects_v2(Bucket="box")
    names = ("Key", "ETag", "Size", "LastModified")
    kept = [{name: one.get(name) for name in names} for one in said.get("Contents", [])]
    return kept, said.get("IsTruncated"), said.get("NextContinuationToken")


text = st.sampled_from(TEXTS)


@st.composite
def element(draw: Any, name: str, inner: str) -> str:
    """An element in one of its spellings; mostly the plain one."""
    form = draw(st.sampled_from(["plain"] * 12 + ["attribute", "prefix", "spaced", "twice"]))
    match form:
        case "attribute":
            return f'<{name} a="1">{inner}</{name}>'
        case "prefix":
            return f"<x:{name}>{inner}</x:{name}>"
        case "spaced":
            return f"<{name} >{inner}</{name}\n>"
        case "twice":
            return f"<{name}>{inner}</{name}>" * 2
    empty = draw(st.booleans()) and not inner
    return f"<{name}/>" if empty else f"<{name}>{inner}</{name}>"


def _leaf(name: str, values: st.SearchStrategy[str] = text) -> st.SearchStrategy[str]:
    return values.flatmap(lambda value: element(name, value))


def _node(name: str, *children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Most of the children, mostly in their order."""
    ordered = st.tuples(*children).map("".join)
    some = st.lists(st.one_of(*children), max_size=4).map("".join)
    between = st.sampled_from(["", "", "", "\n  "])
    inner = st.tuples(between, st.one_of(ordered, ordered, ordered, some), between).map("".join)
    return inner.flatmap(lambda value: element(name, value))


times = st.sampled_from(["2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z", "2026-01-02", "soon"])
numbers = st.sampled_from(["2", "4", "many", ""])
instance = _node(
    "item",
    _leaf("instanceId"),
    _leaf("imageId"),
    _node("instanceState", _leaf("code", st.just("16")), _leaf("name")),
    _leaf("instanceType"),
    _leaf("launchTime", times),
    _node("placement", _leaf("availabilityZone"), _leaf("groupName"), _leaf("tenancy")),
    _leaf("privateIpAddress"),
    _leaf("ipAddress"),
    _node("stateReason", _leaf("code"), _leaf("message")),
    _node("tagSet", _node("item", _leaf("key"), _leaf("value")), _node("item", _leaf("key"))),
    _node("iamInstanceProfile", _leaf("arn"), _leaf("id")),
    _node("groupSet", _node("item", _leaf("groupId"), _leaf("groupName"))),
    _node("networkInterfaceSet", _node("item", _leaf("ipAddress"), _leaf("networkInterfaceId"))),
    _node("cpuOptions", _leaf("coreCount", numbers), _leaf("threadsPerCore", numbers)),
)
reservation = _node(
    "item",
    _leaf("reservationId"),
    _leaf("ownerId"),
    _node("instancesSet", instance, instance),
    _leaf("requesterId"),
)
event = _node("item", _leaf("code"), _leaf("description"), _leaf("notBefore", times))
status = _node(
    "item",
    _leaf("instanceId"),
    _leaf("availabilityZone"),
    _node(
        "eventsSet", _node("item", _leaf("code"), _leaf("description"), _leaf("notBefore", times))
    ),
    _node("systemStatus", _leaf("status"), _node("details", _node("item", _leaf("name")))),
    _node("instanceStatus", _leaf("status")),
)


@st.composite
def listing(draw: Any, answer: str, name: str, item: st.SearchStrategy[str]) -> str:
    """One page of EC2's, with an envelope that is mostly the plain one."""
    rare = st.sampled_from([0] * 9 + [1])
    items = "".join(draw(st.lists(item, max_size=3)))
    whole = f"<{name}>{items}</{name}>" if items or draw(st.booleans()) else f"<{name}/>"
    before, after = (draw(st.sampled_from(TOKENS)) if draw(rare) else "" for _ in range(2))
    head = draw(st.sampled_from(HEADS)) if draw(rare) else HEADS[0]
    tail = draw(st.sampled_from(TAILS)) if draw(rare) else ""
    body = (
        f'{head}<{answer} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
        f"{before}{whole}{after}</{answer}>{tail}"
    )
    return body[: draw(st.integers(0, len(body)))] if draw(rare) else body


@given(listing("DescribeInstancesResponse", "reservationSet", reservation))
@settings(max_examples=60, deadline=None)
def test_instances__bodies_of_the_grammar__with_and_without_are_equal(body: str) -> None:
    _same("ec2", _instances, body)


@given(listing("DescribeInstanceStatusResponse", "instanceStatusSet", status))
@settings(max_examples=60, deadline=None)
def test_statuses__bodies_of_the_grammar__with_and_without_are_equal(body: str) -> None:
    _same("ec2", _statuses, body)


contents = _node(
    "Contents",
    _leaf("Key"),
    _leaf("LastModified", times),
    _leaf("ETag"),
    _leaf("ChecksumType"),
    _leaf("Size", st.sampled_from(["0", "11", "x"])),
    _leaf("StorageClass"),
    _node("Owner", _leaf("ID"), _leaf("Key")),
)
plain_contents = st.builds(
    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>".format,
    text, times, text, st.sampled_from(["0", "11"]),
)  # fmt: skip


@st.composite
def bucket(draw: Any) -> str:
    """One page of S3's."""
    items = "".join(draw(st.lists(st.one_of(plain_contents, plain_contents, contents), max_size=3)))
    more = draw(st.sampled_from(["true", "false", "false", "", "yes"]))
    token = draw(_leaf("NextContinuationToken")) if more == "true" else ""
    encoding = draw(st.sampled_from(["", "<EncodingType>url</EncodingType>"]))
    head = draw(st.sampled_from(HEADS * 1 + HEADS[:1] * 9))
    tail = draw(st.sampled_from(("",) * 9 + TAILS))
    body = (
        f'{head}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>box</Name>'
        f"<Prefix/><KeyCount>1</KeyCount>{encoding}<IsTruncated>{more}</IsTruncated>{token}{items}"
        f"</ListBucketResult>{tail}"
    ).replace("<Prefix/>", draw(st.sampled_from(["", "", "<Prefix></Prefix>", "<Prefix/>"])))
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body


@given(bucket())
@settings(max_examples=60, deadline=None)
def test_objects__bodies_of_the_grammar__with_and_without_are_equal(body: str) -> None:
    _same("s3", _objects, body)


ITEM = "<item><reservationId>r</reservationId><instancesSet/></item>"


def _page(items: str, before: str = "", after: str = "", tail: str = "") -> str:
    return (
        f'{HEADS[0]}<DescribeInstancesResponse xmlns="http://e"><requestId>r</requestId>{before}'
        f"<reservationSet>{items}</reservationSet>{after}</DescribeInstancesResponse>{tail}"
    )


def _taken(body: str, status: int = 200) -> dict[str, Any]:
    response, customized = {"status_code": status, "body": body.encode()}, dict[str, Any]()
    lean._HANDLERS["ec2"]["DescribeInstances"](response, customized)
    assert (response["body"] == body.encode()) == (not customized)  # whole or not at all
    return customized


def test_plain_form__pages_of_items__are_taken_over() -> None:
    found = _taken(_page(ITEM * 2 + "\n", after="<nextToken>a&amp;b&quot;</nextToken>\n"))
    assert isinstance(found["Reservations"], Parts)
    assert len(found["Reservations"]) == 2
    assert found["NextToken"] == 'a&b"'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_page(ITEM), 503),
        (_page(""), 200),
        (_page("").replace("<reservationSet></reservationSet>", "<reservationSet/>"), 200),
        (_page(ITEM.replace("<item>", '<item a="1">')), 200),
        (_page(ITEM + ITEM.replace("<item>", '<item a="1">')), 200),
        (_page(ITEM + "<item><ownerId>1</ownerId></item>"), 200),
        (_page("<item><ownerId>1</ownerId></item>" + ITEM), 200),
        (_page(ITEM + "text"), 200),
        (_page(ITEM + "<![CDATA[x]]>"), 200),
        (_page(ITEM, after="<nextToken>a&#61;</nextToken>"), 200),
        (_page(ITEM, "<nextToken>a</nextToken>", "<nextToken>b</nextToken>"), 200),
        (_page(ITEM, after="<other/>"), 200),
        (_page(ITEM, tail="garbage"), 200),
        (_page(ITEM)[:-5], 200),
        ("not XML", 200),
    ],
)
def test_plain_form__anything_else__is_left_to_botocore(body: str, status: int) -> None:
    assert _taken(body, status) == {}
    _same("ec2", _instances, body, status)
