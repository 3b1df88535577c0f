"""Listings that grow with the fleet, read at a fraction of botocore's cost.

botocore's XML parser makes nested dictionaries of everything AWS says: half a millisecond an
instance, every time. Here three answers are cut into their items as they arrive (botocore's own
`before-parse` event), and an item is read only when its bytes are not those of the last listing.
Requests, paging, errors and retries stay botocore's; an answer that does not look as expected is
left to it altogether.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Generic, TypeVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

from botocore.utils import parse_timestamp

T = TypeVar("T")

_NOTHING = b"<Answer/>"
_TOKEN = re.compile(rb"<nextToken>([^<]*)</nextToken>")
_RESERVATION = re.compile(rb"<item>\s*<reservationId>")
_CHECK = re.compile(rb"<item>\s*<instanceId>")
# Text is escaped in XML: within it there is no tag, and nothing of these can be in a key.
_LIST = re.compile(rb"\s*(?:<\?xml[^>]*\?>)?\s*<ListBucketResult[\s>]")
_CONTENTS = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_OBJECT = re.compile(r"<(Key|ETag|LastModified|Size)>([^<]*)<")
_TOP = re.compile(r"<(IsTruncated|NextContinuationToken|EncodingType)>([^<]*)<")
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


def install(client: Any, service: str) -> None:
    """Have this client's long listings read so.

    The name with a star comes before botocore's own reader of errors in S3's 200 answers, which
    parses every body whole; one that is an error is no list, and left to it.
    """
    for name, handler in _HANDLERS.get(service, {}).items():
        client.meta.events.register_first(f"before-parse.*.{name}", handler)


class Parts(list[Mapping[str, Any]]):
    """A listing's items, each as the bytes of its XML; whoever takes one has it read as botocore
    would show it, with the fields that are used here alone.

    A list, because botocore's waiters look into nothing else; its own slots stay empty.
    """

    def __init__(self, items: list[bytes], read: Callable[[ET.Element], Mapping[str, Any]]) -> None:
        super().__init__(repeat({}, len(items)))
        self.items = items
        self._read = read

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Parts(self.items[place], self._read)
        return self._read(ET.fromstring(self.items[place]))  # noqa: S314 - AWS's, as in botocore

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return map(self.__getitem__, range(len(self)))


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
            for place, text in enumerate(page.items):
                key = hashlib.blake2b(text, digest_size=16).digest()
                found = self._kept[key] if key in self._kept else self._read(page[place])
                kept[key] = found
                made.append(found)
        self._kept = kept
        return made


def _instances(response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
    _cut(response_dict, customized_response_dict, "Reservations", _RESERVATION, _reservation)


def _checks(response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
    _cut(response_dict, customized_response_dict, "InstanceStatuses", _CHECK, _check)


_SETS = {"Reservations": b"reservationSet", "InstanceStatuses": b"instanceStatusSet"}


def _cut(
    response: dict[str, Any],
    customized: dict[str, Any],
    name: str,
    begins: re.Pattern[bytes],
    read: Callable[[ET.Element], Mapping[str, Any]],
) -> None:
    """Cut EC2's set into items. Text is escaped in XML, so a tag found is a tag."""
    body: bytes = response["body"]
    first, last = body.find(b"<%s>" % _SETS[name]), body.rfind(b"</%s>" % _SETS[name])
    if response["status_code"] != 200 or first < 0 or last < 0 or b"<![CDATA[" in body:
        return
    starts = [found.start() for found in begins.finditer(body, first, last)]
    if not starts and body[first:last].count(b"<item>"):
        return
    ends = [*starts[1:], last]
    items = [body[a:b].rstrip() for a, b in zip(starts, ends, strict=True)]
    customized[name] = Parts(items, read)
    token = _TOKEN.search(body, last) or _TOKEN.search(body, 0, first)
    if token and token[1]:
        customized["NextToken"] = unescape(token[1].decode())
    response["body"] = _NOTHING


def _reservation(item: ET.Element) -> Mapping[str, Any]:
    return {"Instances": [_instance(one) for one in item.iterfind("instancesSet/item")]}


def _instance(item: ET.Element) -> dict[str, Any]:
    """The members that `cloud` reads (EC2 API reference, Instance); absent ones stay absent."""
    found: dict[str, Any] = {}
    for child in item:
        member = _MEMBERS.get(child.tag)
        if member is not None and (len(child) or child.text):
            found[member[0]] = member[1](child)
    return found


def _text(item: ET.Element) -> str:
    return item.text or ""


def _under(path: str, name: str) -> Callable[[ET.Element], dict[str, str]]:
    def read(item: ET.Element) -> dict[str, str]:
        text = item.findtext(path)
        return {name: text} if text is not None else {}

    return read


def _tags(item: ET.Element) -> list[dict[str, str]]:
    return [
        {"Key": one.findtext("key", ""), "Value": one.findtext("value", "")}
        for one in item.iterfind("item")
    ]


def _cpus(item: ET.Element) -> dict[str, int]:
    names = {"coreCount": "CoreCount", "threadsPerCore": "ThreadsPerCore"}
    return {names[one.tag]: int(_text(one)) for one in item if one.tag in names}


_MEMBERS: Mapping[str, tuple[str, Callable[[ET.Element], Any]]] = {
    "instanceId": ("InstanceId", _text),
    "imageId": ("ImageId", _text),
    "instanceType": ("InstanceType", _text),
    "instanceState": ("State", _under("name", "Name")),
    "stateReason": ("StateReason", _under("message", "Message")),
    "placement": ("Placement", _under("availabilityZone", "AvailabilityZone")),
    "launchTime": ("LaunchTime", lambda item: timestamp(_text(item))),
    "ipAddress": ("PublicIpAddress", _text),
    "privateIpAddress": ("PrivateIpAddress", _text),
    "instanceLifecycle": ("InstanceLifecycle", _text),
    "tagSet": ("Tags", _tags),
    "cpuOptions": ("CpuOptions", _cpus),
}


def _check(item: ET.Element) -> Mapping[str, Any]:
    return {
        "InstanceId": item.findtext("instanceId", ""),
        "SystemStatus": {"Status": item.findtext("systemStatus/status", "")},
        "InstanceStatus": {"Status": item.findtext("instanceStatus/status", "")},
    }


def _objects(response_dict: dict[str, Any], customized_response_dict: Any, **_: Any) -> None:
    """S3's list. Keys may be URL-encoded; botocore decodes them afterwards, as always."""
    body: bytes = response_dict["body"]
    whole = _LIST.match(body) and body.rstrip().endswith(b"</ListBucketResult>")
    if response_dict["status_code"] != 200 or not whole or b"<!" in body or b"&#" in body:
        return
    text = body.decode(errors="replace")
    top = dict(_TOP.findall(text))
    customized_response_dict.update(
        {name: _plain(said) for name, said in top.items() if name != "IsTruncated"},
        Contents=[_object(found[1]) for found in _CONTENTS.finditer(text)],
        IsTruncated=top.get("IsTruncated") == "true",
    )
    response_dict["body"] = _NOTHING


def _object(item: str) -> dict[str, Any]:
    """The members that are used; an element tree of them takes three times the memory and CPU."""
    found = dict(_OBJECT.findall(item))
    return {
        "Key": _plain(found.get("Key", "")),
        "ETag": _plain(found.get("ETag", "")),
        "LastModified": timestamp(found.get("LastModified")),
        "Size": int(found.get("Size") or 0),
    }


def _plain(text: str) -> str:
    return unescape(text, _QUOTES) if "&" in text else text


def every(pages: Iterable[Any], name: str) -> Iterator[Sequence[Any]]:
    """The `name` of each page."""
    for page in pages:
        yield page.get(name, [])


_HANDLERS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "ec2": {"DescribeInstances": _instances, "DescribeInstanceStatus": _checks},
    "s3": {"ListObjectsV2": _objects},
}
