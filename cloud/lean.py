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
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Generic, TypeVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

from botocore.utils import parse_timestamp

from cloud.shapes import Items, Leaf, NotPlain, Shapes, Structure

T = TypeVar("T")
_Handler = Callable[..., None]
_NOTHING = b"<Answer/>"
_VERIFIED_LIMIT = 1 << 16  # items known to be plain; more are read once again
# The plain forms, of which each byte is accounted for. Text is escaped in XML: within it is no tag.
_PROLOGUE = rb"""(?:<\?xml version=["']1\.0["'](?: encoding=["'](?:UTF|utf)-8["'])?\s*\?>\s*)?"""
_BESIDE = rb"(?:(?:<requestId>[^<]*</requestId>|<nextToken>[^<]*</nextToken>|<nextToken/>)\s*)*"
_TOKEN = re.compile(rb"<nextToken(?:/>|>([^<]*)<)")
_ENTITY = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)")
_CONTROLS = bytes({*range(32)} - set(b"\t\n"))
_NO_LETTERS = (b"]]>", b"\xef\xbf\xbe", b"\xef\xbf\xbf")
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


def install(client: Any, service: str, turn: AbstractContextManager[Any]) -> None:
    """Have this client's long listings read so, one at a time of all clients of one `turn`.

    Threads that compute side by side pass the interpreter to and fro, which costs them a third
    more, and hold their pages all at once.

    The name with a star comes before botocore's own reader of errors in S3's 200 answers, which
    parses every body whole; one that is an error is no list, and left to it.
    """
    for name, handler in _HANDLERS.get(service, {}).items():
        client.meta.events.register_first(f"before-parse.*.{name}", _in_turn(turn, handler))


def _in_turn(
    turn: AbstractContextManager[Any], handler: Callable[..., None]
) -> Callable[..., None]:
    def handle(**said: Any) -> None:
        with turn:
            handler(**said)

    return handle


class Parts(list[Mapping[str, Any]]):
    """A listing's items, each as the bytes of its XML and their digest; whoever takes one has it
    read as botocore would show it, with the fields that are used here alone.

    A list, because botocore's waiters look into nothing else; its own slots stay empty.
    """

    def __init__(self, items: Sequence[bytes], read: Callable[[bytes], Mapping[str, Any]]) -> None:
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
        return self._read(self.items[place])

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
    shapes: Shapes
    verified: dict[bytes, None] = field(default_factory=dict)

    def cut(self, response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
        """Take a plain listing over from botocore, whole or not at all."""
        try:
            found = self._parts(response_dict)
        except (NotPlain, ET.ParseError, ValueError):
            return
        customized_response_dict.update(found)
        response_dict["body"] = _NOTHING

    def _parts(self, response: Mapping[str, Any]) -> Mapping[str, Any]:
        body: bytes = response["body"]
        whole = self.body.fullmatch(body) if response["status_code"] == 200 else None
        if whole is None:
            raise NotPlain
        parts = Parts(self._items(body, *whole.span("items")), self.shapes.read)
        for place, (text, digest) in enumerate(zip(parts.items, parts.digests, strict=True)):
            if digest not in self.verified:
                parts.known[place] = self._verified(text, digest)
        return {self.name: parts, **_token(whole["before"] + whole["after"])}

    def _items(self, body: bytes, first: int, last: int) -> list[bytes]:
        """The set's bytes, cut where items begin; none of them is left over."""
        starts = [found.start() for found in self.begins.finditer(body, first, last)]
        if not starts or body[first : starts[0]].strip():
            raise NotPlain
        return [body[a:b].rstrip() for a, b in zip(starts, [*starts[1:], last], strict=True)]

    def _verified(self, text: bytes, digest: bytes) -> Mapping[str, Any]:
        """What the piece says, which is one whole item; seen once more, it is known to be one."""
        said: Mapping[str, Any] = self.shapes.read(text)
        if len(self.verified) >= _VERIFIED_LIMIT:
            self.verified.clear()
        self.verified[digest] = None
        return said


def _is_odd(text: bytes) -> bool:
    """Has what XML reads as another thing, or refuses."""
    if _ENTITY.search(text) or len(text.translate(None, _CONTROLS)) != len(text):
        return True
    return any(one in text for one in _NO_LETTERS)


def _token(beside: bytes) -> dict[str, str]:
    """The mark of the next page, if there is one."""
    said = _TOKEN.findall(beside)
    if len(said) > 1 or _is_odd(beside):
        raise NotPlain
    return {"NextToken": unescape(said[0].decode(), _QUOTES)} if said else {}


def _form(name: str, answer: bytes, items: bytes, first: bytes, item: Structure) -> _Form:
    body = re.compile(
        _PROLOGUE + rb'<%s(?: xmlns="[^"<>&]*")?>\s*(?P<before>%s)' % (answer, _BESIDE)
        + rb"<%s>(?P<items>.*)</%s>\s*(?P<after>%s)" % (items, items, _BESIDE)
        + rb"</%s>\s*" % answer,
        re.DOTALL,
    )  # fmt: skip
    return _Form(name, body, re.compile(rb"<item>\s*<(?:%s)>" % first), Shapes(item))


_TEXT = Leaf()
_TIME = Leaf(timestamp)
_NUMBER = Leaf(int)


def _texts(**names: str) -> Structure:
    """A structure of texts: XML's names, and botocore's."""
    return {xml: (name, _TEXT) for xml, name in names.items()}


# The members that `cloud` reads (EC2 API reference, Instance); absent ones stay absent.
_INSTANCE: Structure = {
    **_texts(
        instanceId="InstanceId",
        imageId="ImageId",
        instanceType="InstanceType",
        ipAddress="PublicIpAddress",
        privateIpAddress="PrivateIpAddress",
        instanceLifecycle="InstanceLifecycle",
    ),
    "instanceState": ("State", _texts(name="Name")),
    "stateReason": ("StateReason", _texts(code="Code", message="Message")),
    "placement": ("Placement", _texts(availabilityZone="AvailabilityZone")),
    "launchTime": ("LaunchTime", _TIME),
    "tagSet": ("Tags", Items(_texts(key="Key", value="Value"))),
    "iamInstanceProfile": ("IamInstanceProfile", _texts(arn="Arn")),
    "groupSet": ("SecurityGroups", Items(_texts(groupId="GroupId", groupName="GroupName"))),
    "cpuOptions": (
        "CpuOptions",
        {"coreCount": ("CoreCount", _NUMBER), "threadsPerCore": ("ThreadsPerCore", _NUMBER)},
    ),
}
_RESERVATION: Structure = {"instancesSet": ("Instances", Items(_INSTANCE))}
_EVENT: Structure = {
    **_texts(instanceEventId="InstanceEventId", code="Code", description="Description"),
    "notBefore": ("NotBefore", _TIME),
    "notAfter": ("NotAfter", _TIME),
}
_CHECK: Structure = {
    "instanceId": ("InstanceId", _TEXT),
    "systemStatus": ("SystemStatus", _texts(status="Status")),
    "instanceStatus": ("InstanceStatus", _texts(status="Status")),
    "eventsSet": ("Events", Items(_EVENT)),
}


def _objects(response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
    """S3's list. Keys may be URL-encoded; botocore decodes them afterwards, as always."""
    try:
        found = _listed(response_dict)
    except (NotPlain, ValueError):
        return
    customized_response_dict.update(found)
    response_dict["body"] = _NOTHING


def _listed(response: Mapping[str, Any]) -> dict[str, Any]:
    body: bytes = response["body"]
    if response["status_code"] != 200 or _is_odd(body):
        raise NotPlain
    text = body.decode()
    start = _LIST.match(text)
    if start is None:
        raise NotPlain
    place, top, contents = start.start("rest"), list[tuple[str, str]](), list[dict[str, Any]]()
    while not _LIST_ENDS.fullmatch(text, place):
        member = _CONTENTS.match(text, place) or _MEMBER.match(text, place)
        if member is None:
            raise NotPlain
        if member.re is _CONTENTS:
            contents.append(_object(member[1]))
        elif member[1] in _LIST_MEMBERS:
            top.append((member[1], member[2]))
        else:
            raise NotPlain
        place = member.end()
    said = _once(top)
    found = {name: _plain(said[name]) for name in _TOP if name in said}
    return {**found, "Contents": contents, "IsTruncated": _truth(said)}


def _truth(said: Mapping[str, str]) -> bool:
    truth = _TRUTH.get(said.get("IsTruncated", ""))
    if truth is None:
        raise NotPlain
    return truth


def _once(members: Sequence[tuple[str, str]]) -> dict[str, str]:
    found = dict(members)
    if len(found) != len(members):
        raise NotPlain
    return found


def _object(item: str) -> dict[str, Any]:
    """The members that are used; an element tree of them takes three times the memory and CPU."""
    found = _once(_MEMBER.findall(item))
    if not {"Key", "ETag", "LastModified", "Size"} <= found.keys():
        raise NotPlain
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
    "Reservations", b"DescribeInstancesResponse", b"reservationSet", b"reservationId", _RESERVATION,
)  # fmt: skip
_STATUSES = (
    "InstanceStatuses", b"DescribeInstanceStatusResponse", b"instanceStatusSet",
    b"instanceId|availabilityZone", _CHECK,
)  # fmt: skip
_HANDLERS: Mapping[str, Mapping[str, _Handler]] = {
    "ec2": {
        "DescribeInstances": _form(*_RESERVATIONS).cut,
        "DescribeInstanceStatus": _form(*_STATUSES).cut,
    },
    "s3": {"ListObjectsV2": _objects},
}
