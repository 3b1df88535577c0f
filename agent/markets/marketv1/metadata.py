"""A job's metadata: JSON that any user writes, read strictly, wholly and within bounds.

The keys and their forms are those that Marlin's control plane reads: `instance`, `region`,
`memory` (MiB of the enclave), `vcpu` (CPUs of the enclave), `url`, `family`, `debug`,
`init_params` (base64); a null is a key that is not there. Whatever else is written there is passed
over. No text makes this raise: what can't be served is an `Unreadable` whose text says why, for the
provider and the user.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.market.model import InstanceType
from agent.market.workload import Workload
from faults import UsageFault
from foreign_json import deeper_than

# Of the whole text. No block of 30 million gas stores more than 44,000 bytes, at 22,100 for 32.
MAX_BYTES = 64 * 1024
MAX_DEPTH = 16  # brackets within brackets; the tools write one
MAX_DIGITS = 20  # of one number
MAX_URL_CHARS = 2048  # signed URLs of object stores are this long
MAX_MEMORY_MIB = 1 << 25  # 32 TiB: more than any instance type has
MAX_CPUS = 1024
OLD_FAMILY = "salmon"  # what is meant where no family is named
_SHOWN = 60

_PRINTABLE = re.compile(r"[!-~]+")
_WORD = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a job asks for."""

    instance_type: InstanceType
    workload: Workload


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a job's metadata can't be served, in one line."""

    text: str


class _Wrong(Exception):
    """The metadata can't be served; `str()` says why. Never leaves this module."""


def read(raw: bytes) -> Metadata | Unreadable:
    """The metadata as it stands on the chain. Raises nothing."""
    try:
        return _metadata(_json_object(raw))
    except _Wrong as wrong:
        return Unreadable(str(wrong))


def write(instance_type: InstanceType, workload: Workload, name: str = "") -> str:
    """Metadata with all the keys that Marlin's own command line writes."""
    return json.dumps(
        {
            "instance": instance_type.ec2_type, "region": instance_type.region,
            "memory": workload.memory_mib, "vcpu": workload.cpu_count, "url": workload.url,
            "name": name, "family": workload.family, "debug": workload.debug,
            "init_params": b64encode(workload.init_params).decode(),
        },
        separators=(",", ":"),
    )  # fmt: skip


def _metadata(fields: Mapping[str, Any]) -> Metadata:
    kind = _kind(_text(fields, "region"), _text(fields, "instance"))
    workload = Workload(
        url=_url(fields),
        memory_mib=_count(fields, "memory", MAX_MEMORY_MIB),
        cpu_count=_count(fields, "vcpu", MAX_CPUS),
        family=_family(fields),
        debug=fields.get("debug") is True,  # as the control plane: what is no bool means false
        init_params=_init_params(fields),
    )
    return Metadata(kind, workload)


# The text


def _json_object(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > MAX_BYTES:
        raise _Wrong(f"the metadata has {len(raw)} bytes, at most {MAX_BYTES} are read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Wrong(f"the metadata is no UTF-8 text (byte {error.start})") from None
    if deeper_than(text, MAX_DEPTH):
        raise _Wrong(f"the metadata has more than {MAX_DEPTH} brackets within each other")
    try:
        found = json.loads(
            text,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_constant,
            object_pairs_hook=_distinct,
        )
    except json.JSONDecodeError as error:
        raise _Wrong(f"the metadata is no JSON: {error.msg} (character {error.pos})") from None
    if not isinstance(found, dict):
        raise _Wrong("the metadata is no JSON object")
    return found


def _integer(digits: str) -> int:
    _check_digits(digits)
    return int(digits)


def _fraction(digits: str) -> float:
    _check_digits(digits)
    return float(digits)


def _check_digits(digits: str) -> None:
    if len(digits) > MAX_DIGITS:
        raise _Wrong(f"the metadata has a number of {len(digits)} digits")


def _constant(word: str) -> float:
    raise _Wrong(f"the metadata is no JSON: {word} is no number")


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers would pick different ones of two equal keys."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"the metadata names {_shown(twice)} twice")
    return found


# The keys


def _kind(region: str, instance: str) -> InstanceType:
    try:
        return InstanceType(region, instance)
    except UsageFault:
        asked = f"region and instance of the metadata are {_shown(region)} and {_shown(instance)}"
        raise _Wrong(f"{asked}: not an AWS region and an EC2 type") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        shown = value if name != "url" else type(value).__name__  # its query may be a secret
        raise _Wrong(f"the metadata has no text {name!r}" if value is None else _odd(name, shown))
    return value


def _count(fields: Mapping[str, Any], name: str, most: int) -> int:
    value = fields.get(name)
    if value is None:
        raise _Wrong(f"the metadata has no number {name!r}")
    if type(value) is not int or not 1 <= value <= most:
        raise _Wrong(f"{_odd(name, value)}: not a whole number from 1 to {most}")
    return value


def _url(fields: Mapping[str, Any]) -> str:
    url = _text(fields, "url")
    if not url:
        raise _Wrong("the url of the metadata is empty")
    if len(url) > MAX_URL_CHARS:
        raise _Wrong(f"the url has {len(url)} characters, at most {MAX_URL_CHARS} are read")
    if not _PRINTABLE.fullmatch(url):
        raise _Wrong(f"the url of the metadata is not printable ASCII without spaces: {_at(url)}")
    return url


def _family(fields: Mapping[str, Any]) -> str:
    if fields.get("family") is None:
        return OLD_FAMILY
    family = _text(fields, "family")
    if not _WORD.fullmatch(family):
        raise _Wrong(f"{_odd('family', family)}: not a family's name")
    return family


def _init_params(fields: Mapping[str, Any]) -> bytes:
    if fields.get("init_params") is None:
        return b""
    text = _text(fields, "init_params")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("init_params of the metadata is no base64 text") from None


def _at(url: str) -> str:
    """Where it is not; what stands there may be part of a secret."""
    sound = _PRINTABLE.match(url)
    return f"character {sound.end() if sound else 0}"


def _odd(name: str, value: object) -> str:
    return f"{name} of the metadata is {_shown(value)}"


def _shown(value: object) -> str:
    """Short, and printable whatever it is."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
