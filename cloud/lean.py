"""Listings that grow with the fleet, read at a fraction of botocore's cost.

botocore's XML parser makes nested dictionaries of everything AWS says: half a millisecond an
instance, every time. Here three answers are cut into their items as they arrive (botocore's own
`before-parse` event), and an item is read only when its bytes are not those of the last listing.
Requests, paging, errors and retries stay botocore's; an answer that is not in each byte of the
plain form that is known here (an empty set, attributes, comments, members in another order, bytes
behind the last tag) is left to it altogether.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Generic, TypeVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

from botocore.utils import parse_timestamp

T = TypeVar("T")
_Members = Mapping[str, tuple[str, Callable[[ET.Element], Any]]]

_NOTHING = b"<Answer/>"
_VERIFIED_LIMIT = 1 << 16  # items and shapes known to be plain; more are read once again
_LEAF_TEXT = re.compile(rb"<(\w+)>[^<]+</\1>")
# The plain forms, of which each byte is accounted for. Text is escaped in XML: within it is no tag.
_PROLOGUE = rb"""(?:<\?xml version=["']1\.0["'](?: encoding=["'](?:UTF|utf)-8["'])?\s*\?>\s*)?"""
_BESIDE = rb"(?:(?:<requestId>[^<]*</requestId>|<nextToken>[^<]*</nextToken>|<nextToken/>)\s*)*"
_TOKEN = re.compile(rb"<nextToken(?:/>|>([^<]*)<)")
_ENTITY = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)")
_LIST = re.compile(
    _PROLOGUE.decode() + r'<ListBucketResult(?: xmlns="[^"<>&]*")?>\s*(?P<rest>.*)', re.DOTALL
)
_LIST_ENDS = re.compile(r"</ListBucketResult>\s*")
_MEMBER = re.compile(r"<(\w+)>([^<]*)</\1>\s*")
_CONTENTS = re.compile(r"<Contents>\s*((?:<(\w+)>[^<]*</\2>\s*)+)</Contents>\s*")
_TOP = ("NextContinuationToken", "EncodingType")
_LIST_MEMBERS = frozenset(
    {*_TOP, "Name", "Prefix", "Delimiter", "MaxKeys", "KeyCount", "IsTruncated",
     "ContinuationToken", "StartAfter"}
)  # fmt: skip
_TRUTH = {"true": True, "false": False}
_QUOTES = {"&quot;": '"', "&apos;": "'"}


class _NotPlain(Exception):
    """The answer is not of the form that is read here: botocore reads it."""


@lru_cache(maxsize=1 << 15)
def timestamp(value: Any) -> datetime:
    """A time as AWS writes it; what is no ISO 8601 with its zone is left to botocore.

    Listings name the same seconds again and again.
    """
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return parse_timestamp(value)
    return read if read.tzinfo is not None else parse_timestamp(value)


def install(client: Any, service: str) -> None:
    """Have this client's long listings read so.

    The name with a star comes before botocore's own reader of errors in S3's 200 answers, which
    parses every body whole; one that is an error is no list, and left to it.
    """
    for name, handler in _HANDLERS.get(service, {}).items():
        client.meta.events.register_first(f"before-parse.*.{name}", handler)


class Parts(list[Mapping[str, Any]]):
    """A listing's items, each as the bytes of its XML and their digest; whoever takes one has it
    read as botocore would show it, with the fields that are used here alone.

    A list, because botocore's waiters look into nothing else; its own slots stay empty.
    """

    def __init__(
        self, items: Sequence[bytes], read: Callable[[ET.Element], Mapping[str, Any]]
    ) -> None:
        super().__init__(repeat({}, len(items)))
        self.items = items
        self.digests = [_digest(text) for text in items]
        self.known: dict[int, Mapping[str, Any]] = {}  # by place: what was read to verify it
        self._read = read

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Parts(self.items[place], self._read)
        if place in self.known:
            return self.known[place]
        return self._read(ET.fromstring(self.items[place]))  # noqa: S314 - AWS's, as in botocore

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return map(self.__getitem__, range(len(self)))


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


class Memo(Generic[T]):
    """What was made of each item of the last listing; an item that did not change is not read.

    Threads may share it: at worst one reads again what another has read.
    """

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read
        self._kept: dict[bytes, T] = {}

    def over(self, pages: Iterable[Sequence[Any]]) -> list[T]:
        """What is made of every item of the pages, in order."""
        kept: dict[bytes, T] = {}
        made: list[T] = []
        for page in pages:
            if not isinstance(page, Parts):
                made += map(self._read, page)
                continue
            for place, key in enumerate(page.digests):
                found = self._kept[key] if key in self._kept else self._read(page[place])
                kept[key] = found
                made.append(found)
        self._kept = kept
        return made


@dataclass(frozen=True)
class _Form:
    """One of EC2's listings: its member's name, where an item begins, how one is read."""

    name: str
    body: re.Pattern[bytes]
    begins: re.Pattern[bytes]
    read: Callable[[ET.Element], Mapping[str, Any]]
    verified: dict[bytes, None] = field(default_factory=dict)
    plain: dict[bytes, None] = field(default_factory=dict)  # shapes: items without their texts

    def cut(self, response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
        """Take a plain listing over from botocore, whole or not at all."""
        try:
            found = self._parts(response_dict)
        except (_NotPlain, ET.ParseError, ValueError):
            return
        customized_response_dict.update(found)
        response_dict["body"] = _NOTHING

    def _parts(self, response: Mapping[str, Any]) -> Mapping[str, Any]:
        body: bytes = response["body"]
        if response["status_code"] != 200 or b"<!" in body or body.count(b"<?") > 1:
            raise _NotPlain
        whole = self.body.fullmatch(body)
        if whole is None:
            raise _NotPlain
        parts = Parts(self._items(body, *whole.span("items")), self.read)
        for place, (text, digest) in enumerate(zip(parts.items, parts.digests, strict=True)):
            if digest not in self.verified:
                parts.known[place] = self._verified(text, digest)
        return {self.name: parts, **_token(whole["before"] + whole["after"])}

    def _items(self, body: bytes, first: int, last: int) -> list[bytes]:
        """The set's bytes, cut where items begin; none of them is left over."""
        starts = [found.start() for found in self.begins.finditer(body, first, last)]
        if not starts or body[first : starts[0]].strip():
            raise _NotPlain
        return [body[a:b].rstrip() for a, b in zip(starts, [*starts[1:], last], strict=True)]

    def _verified(self, text: bytes, digest: bytes) -> Mapping[str, Any]:
        """What the piece says, which is one whole item; seen once more, it is known to be one."""
        item = ET.fromstring(text)  # noqa: S314 - AWS's, as in botocore
        self._check_plain(_LEAF_TEXT.sub(rb"<\1/>", text))
        said = self.read(item)
        _keep(self.verified, digest, _VERIFIED_LIMIT)
        return said

    def _check_plain(self, shape: bytes) -> None:
        """Thousands of items have few shapes. Raises _NotPlain."""
        digest = _digest(shape)
        if digest in self.plain:
            return
        if not _plain_tree(ET.fromstring(shape)):  # noqa: S314 - AWS's, as in botocore
            raise _NotPlain
        _keep(self.plain, digest, _VERIFIED_LIMIT)


def _keep(known: dict[bytes, None], key: bytes, most: int) -> None:
    if len(known) >= most:
        known.clear()
    known[key] = None


def _plain_tree(item: ET.Element) -> bool:
    """No attributes, no text beside elements, no member twice but in lists."""
    if item.attrib:
        return False
    tags = [child.tag for child in item]
    if not tags:
        return True
    beside = "".join([item.text or "", *[child.tail or "" for child in item]])
    alike = len({*tags}) == len(tags) or {*tags} == {"item"}
    return alike and not beside.strip() and all(map(_plain_tree, item))


def _token(beside: bytes) -> dict[str, str]:
    """The mark of the next page, if there is one."""
    said = _TOKEN.findall(beside)
    if len(said) > 1 or _ENTITY.search(beside):
        raise _NotPlain
    return {"NextToken": unescape(said[0].decode(), _QUOTES)} if said else {}


def _form(
    name: str, answer: bytes, items: bytes, first: bytes, read: Callable[[ET.Element], Any]
) -> _Form:
    body = re.compile(
        _PROLOGUE + rb'<%s(?: xmlns="[^"<>&]*")?>\s*(?P<before>%s)' % (answer, _BESIDE)
        + rb"<%s>(?P<items>.*)</%s>\s*(?P<after>%s)" % (items, items, _BESIDE)
        + rb"</%s>\s*" % answer,
        re.DOTALL,
    )  # fmt: skip
    return _Form(name, body, re.compile(rb"<item>\s*<(?:%s)>" % first), read)


def _reservation(item: ET.Element) -> Mapping[str, Any]:
    return {"Instances": [_instance(one) for one in item.iterfind("instancesSet/item")]}


def _instance(item: ET.Element) -> dict[str, Any]:
    """The members that `cloud` reads (EC2 API reference, Instance); absent ones stay absent."""
    return _read_members(item, _MEMBERS)


def _read_members(item: ET.Element, members: _Members) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in item:
        member = members.get(child.tag)
        if member is not None:
            found[member[0]] = member[1](child)
    return found


def _text(item: ET.Element) -> str:
    return item.text or ""


def _only(**names: str) -> Callable[[ET.Element], dict[str, Any]]:
    """Reads a structure of texts: XML's names, and botocore's."""
    members: _Members = {xml: (name, _text) for xml, name in names.items()}
    return lambda item: _read_members(item, members)


_tag = _only(key="Key", value="Value")
_group = _only(groupId="GroupId", groupName="GroupName")


def _tags(item: ET.Element) -> list[dict[str, Any]]:
    return [_tag(one) for one in item.iterfind("item")]


def _cpus(item: ET.Element) -> dict[str, int]:
    names = {"coreCount": "CoreCount", "threadsPerCore": "ThreadsPerCore"}
    return {names[one.tag]: int(_text(one)) for one in item if one.tag in names}


def _time(item: ET.Element) -> datetime:
    return timestamp(_text(item))


_MEMBERS: _Members = {
    "instanceId": ("InstanceId", _text),
    "imageId": ("ImageId", _text),
    "instanceType": ("InstanceType", _text),
    "instanceState": ("State", _only(name="Name")),
    "stateReason": ("StateReason", _only(code="Code", message="Message")),
    "placement": ("Placement", _only(availabilityZone="AvailabilityZone")),
    "launchTime": ("LaunchTime", _time),
    "ipAddress": ("PublicIpAddress", _text),
    "privateIpAddress": ("PrivateIpAddress", _text),
    "instanceLifecycle": ("InstanceLifecycle", _text),
    "tagSet": ("Tags", _tags),
    "iamInstanceProfile": ("IamInstanceProfile", _only(arn="Arn")),
    "groupSet": ("SecurityGroups", lambda item: [_group(one) for one in item]),
    "cpuOptions": ("CpuOptions", _cpus),
}


_event = {
    "instanceEventId": ("InstanceEventId", _text),
    "code": ("Code", _text),
    "description": ("Description", _text),
    "notBefore": ("NotBefore", _time),
    "notAfter": ("NotAfter", _time),
}
_CHECK: _Members = {
    "instanceId": ("InstanceId", _text),
    "systemStatus": ("SystemStatus", _only(status="Status")),
    "instanceStatus": ("InstanceStatus", _only(status="Status")),
    "eventsSet": ("Events", lambda item: [_read_members(one, _event) for one in item]),
}


def _check(item: ET.Element) -> Mapping[str, Any]:
    return _read_members(item, _CHECK)


def _objects(response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
    """S3's list. Keys may be URL-encoded; botocore decodes them afterwards, as always."""
    try:
        found = _listed(response_dict)
    except (_NotPlain, ValueError):
        return
    customized_response_dict.update(found)
    response_dict["body"] = _NOTHING


def _listed(response: Mapping[str, Any]) -> dict[str, Any]:
    body: bytes = response["body"]
    if response["status_code"] != 200 or b"<!" in body or _ENTITY.search(body):
        raise _NotPlain
    text = body.decode()
    start = _LIST.match(text)
    if start is None:
        raise _NotPlain
    place, top, contents = start.start("rest"), list[tuple[str, str]](), list[dict[str, Any]]()
    while not _LIST_ENDS.fullmatch(text, place):
        member = _CONTENTS.match(text, place) or _MEMBER.match(text, place)
        if member is None:
            raise _NotPlain
        if member.re is _CONTENTS:
            contents.append(_object(member[1]))
        elif member[1] in _LIST_MEMBERS:
            top.append((member[1], member[2]))
        else:
            raise _NotPlain
        place = member.end()
    said = _once(top)
    found = {name: _plain(said[name]) for name in _TOP if name in said}
    return {**found, "Contents": contents, "IsTruncated": _truth(said)}


def _truth(said: Mapping[str, str]) -> bool:
    truth = _TRUTH.get(said.get("IsTruncated", ""))
    if truth is None:
        raise _NotPlain
    return truth


def _once(members: Sequence[tuple[str, str]]) -> dict[str, str]:
    found = dict(members)
    if len(found) != len(members):
        raise _NotPlain
    return found


def _object(item: str) -> dict[str, Any]:
    """The members that are used; an element tree of them takes three times the memory and CPU."""
    found = _once(_MEMBER.findall(item))
    if not {"Key", "ETag", "LastModified", "Size"} <= found.keys():
        raise _NotPlain
    return {
        "Key": _plain(found["Key"]),
        "ETag": _plain(found["ETag"]),
        "LastModified": timestamp(found["LastModified"]),
        "Size": int(found["Size"]),
    }


def _plain(text: str) -> str:
    return unescape(text, _QUOTES) if "&" in text else text


def every(pages: Iterable[Any], name: str) -> Iterator[Sequence[Any]]:
    """The `name` of each page."""
    for page in pages:
        yield page.get(name, [])


_RESERVATIONS = (
    "Reservations", b"DescribeInstancesResponse", b"reservationSet", b"reservationId", _reservation,
)  # fmt: skip
_STATUSES = (
    "InstanceStatuses", b"DescribeInstanceStatusResponse", b"instanceStatusSet",
    b"instanceId|availabilityZone",
    _check,
)  # fmt: skip
_HANDLERS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "ec2": {
        "DescribeInstances": _form(*_RESERVATIONS).cut,
        "DescribeInstanceStatus": _form(*_STATUSES).cut,
    },
    "s3": {"ListObjectsV2": _objects},
}
