"""DAG-PB nodes and the UnixFS message inside: decoding only, strict, bounded by the block.

Sources: the DAG-PB specification (ipld.io) and the UnixFS specification (ipfs specs). Both message
orders of a node are read (links first is canonical, data first is what old writers made).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from enclave.cid import BadCid, read_varint
from faults import Refused

MAX_LINKS: Final = 16_384  # Kubo writes 174 a file node and 256 a shard; wide profiles use 1,024

_MAX_FIELDS: Final = MAX_LINKS + 64  # in one message; more only costs time
_MAX_KNOWN_FIELD: Final = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}


class BadDag(Refused):
    """Verified blocks that make no acceptable file: no other source can have better ones."""


class Kind(IntEnum):
    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


class Link(NamedTuple):
    """A named edge; `cid` is still bytes: it is read when it is followed."""

    cid: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Node:
    """A DAG-PB node with the UnixFS message it carries."""

    kind: Kind
    links: tuple[Link, ...]
    data: bytes
    file_size: int | None
    block_sizes: tuple[int, ...]
    hash_type: int | None
    fanout: int | None


@dataclass(slots=True)
class _Message:
    """The fields of a UnixFS message as they are met."""

    numbers: dict[int, int] = field(default_factory=dict)
    data: bytes = b""
    block_sizes: list[int] = field(default_factory=list)


def decode_node(block: bytes) -> Node:
    """The node that a block is. Raises BadDag."""
    try:
        links, unixfs = _decode_outer(memoryview(block))
        return _node(links, _decode_unixfs(unixfs))
    except BadCid as fault:
        raise BadDag(f"a DAG-PB block is malformed: {fault}") from None


def _decode_outer(block: memoryview) -> tuple[tuple[Link, ...], memoryview]:
    links: list[Link] = []
    unixfs: memoryview | None = None
    for number, value in _fields(block):
        if number == 2 and isinstance(value, memoryview):
            links.append(_decode_link(value))
        elif number == 1 and isinstance(value, memoryview) and unixfs is None:
            unixfs = value
        else:
            raise BadDag(f"a DAG-PB node has a wrong or repeated field {number}")
        if len(links) > MAX_LINKS:
            raise BadDag(f"a DAG-PB node has more than {MAX_LINKS} links")
    if unixfs is None:
        raise BadDag("a DAG-PB node carries no UnixFS data: it is no file or directory")
    return tuple(links), unixfs


def _decode_link(message: memoryview) -> Link:
    parts: dict[int, bytes] = {}
    for number, value in _fields(message):
        if number in parts or number > 3 or isinstance(value, memoryview) is (number == 3):
            raise BadDag(f"a DAG-PB link has a wrong or repeated field {number}")
        parts[number] = bytes(value) if isinstance(value, memoryview) else b""
    if 1 not in parts:
        raise BadDag("a DAG-PB link has no CID")
    return Link(parts[1], parts.get(2, b""))


def _decode_unixfs(data: memoryview) -> _Message:
    message = _Message()
    for number, value in _fields(data):
        if number == 2 and isinstance(value, memoryview):
            message.data = bytes(value)
        elif number == 4:
            message.block_sizes += _sizes(value)
        elif isinstance(value, int) and number <= _MAX_KNOWN_FIELD:
            message.numbers[number] = value
    return message


def _sizes(value: int | memoryview) -> Iterator[int]:
    """One size, or several packed."""
    if isinstance(value, int):
        yield value
        return
    at = count = 0
    while at < len(value):
        size, at = read_varint(value, at)
        count += 1
        if count > MAX_LINKS:
            raise BadDag(f"a UnixFS message has more than {MAX_LINKS} sizes")
        yield size


def _node(links: tuple[Link, ...], message: _Message) -> Node:
    try:
        kind = Kind(message.numbers.get(1, -1))
    except ValueError:
        raise BadDag(f"UnixFS type {message.numbers.get(1)} is not known") from None
    return Node(
        kind,
        links,
        message.data,
        message.numbers.get(3),
        tuple(message.block_sizes),
        message.numbers.get(5),
        message.numbers.get(6),
    )


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: numbers as int, everything else as a view."""
    at = count = 0
    while at < len(message):
        key, at = read_varint(message, at)
        number, wire = key >> 3, key & 7
        count += 1
        if number == 0 or count > _MAX_FIELDS:
            raise BadDag("a protobuf field has number 0, or there are too many")
        if wire == _VARINT:
            value, at = read_varint(message, at)
            yield number, value
            continue
        length, at = _length(message, at, wire)
        if length > len(message) - at:
            raise BadDag("a protobuf field is cut off")
        yield number, message[at : at + length]
        at += length


def _length(message: memoryview, at: int, wire: int) -> tuple[int, int]:
    if wire == _BYTES:
        return read_varint(message, at)
    if wire in _FIXED_BYTES:
        return _FIXED_BYTES[wire], at
    raise BadDag(f"protobuf wire type {wire} is not accepted")
