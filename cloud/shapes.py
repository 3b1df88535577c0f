"""Items of XML read by their shape: thousands of them differ in their texts alone.

An item's shape is its tags in order. Each shape is parsed once, and says behind which tag every
member stands; a further item of that shape gives its texts in order, and no tree is made of it.
What is not tame (an entity, a letter beyond ASCII) is parsed by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from xml.etree import ElementTree as ET

SHAPES_LIMIT = 1 << 10  # an account's instances have a few, by their tags and devices
# Nothing that XML reads as another thing, or refuses: entities, line ends, other encodings.
_TAME = re.compile(rb"[\n -%'-~]*")


class NotPlain(Exception):
    """The answer is not of the form that is read here: botocore reads it."""


@dataclass(frozen=True)
class Leaf:
    """A text, and what is made of it. `convert` may raise ValueError."""

    convert: Callable[[str], Any] = str


@dataclass(frozen=True)
class Items:
    """A list: whatever is called `item` in it."""

    each: Spec


Structure = Mapping[str, tuple[str, "Spec"]]  # by XML's name: botocore's, and what it is
Spec = Leaf | Items | Structure
_Texts = Sequence[str]  # behind each tag, or of each leaf
_Read = Callable[[_Texts], Any]


@dataclass(frozen=True)
class _Known:
    """A shape: what its texts make, and those that stand beside elements."""

    read: _Read
    beside: Callable[[_Texts], Sequence[str]]


class Shapes:
    """Reads items as `spec` says. Threads may share it: at worst one parses what another has."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._known: dict[str, _Known] = {}

    def read(self, item: bytes) -> Any:
        """The members of `spec` that the item has. Raises NotPlain, ET.ParseError, ValueError."""
        if _TAME.fullmatch(item) is None or b"]]>" in item:
            return self._read_alone(item)
        before, *pieces = item.decode().split("<")
        tags, ends, texts = zip(*[piece.partition(">") for piece in pieces], strict=True)
        if before or "" in ends:
            raise NotPlain
        shape = "<".join(tags)
        known = self._known.get(shape) or self._learned(shape, tags)
        if "".join(known.beside(texts)).strip():
            raise NotPlain
        return known.read(texts)

    def _learned(self, shape: str, tags: Sequence[str]) -> _Known:
        """Parse it, with its own place behind each tag."""
        tree = _tree(
            "".join(f"<{tag}>{place}" for place, tag in enumerate(tags)).rstrip("0123456789")
        )
        beside = [len(tags) - 1, *_beside(tree)]
        known = _Known(_compiled(_plain(tree), self._spec), itemgetter(*beside, -1))
        if len(self._known) >= SHAPES_LIMIT:
            self._known.clear()
        self._known[shape] = known
        return known

    def _read_alone(self, item: bytes) -> Any:
        tree = _plain(_tree(item))
        texts = [one.text or "" for one in tree.iter()]
        for place, one in enumerate(tree.iter()):
            one.text = f"{place}"
        return _compiled(tree, self._spec)(texts)


def _beside(tree: ET.Element) -> Iterator[int]:
    """The places that are no leaf's; they are taken out of the tree."""
    for one in tree.iter():
        if one.tail:
            yield int(one.tail)
            one.tail = None
        if len(one) and one.text:
            yield int(one.text)
            one.text = None


def _tree(item: str | bytes) -> ET.Element:
    """Raises NotPlain of comments, CDATA and instructions, which leave no trace in the tree."""
    if re.search(r"<[!?]", item) if isinstance(item, str) else re.search(rb"<[!?]", item):
        raise NotPlain
    return ET.fromstring(item)  # noqa: S314 - AWS's, as in botocore


def _plain(item: ET.Element) -> ET.Element:
    """No attributes, no text beside elements, no member twice but in lists. Raises NotPlain."""
    if item.attrib:
        raise NotPlain
    tags = [child.tag for child in item]
    if not tags:
        return item
    beside = "".join([item.text or "", *[child.tail or "" for child in item]])
    alike = len({*tags}) == len(tags) or {*tags} == {"item"}
    if not alike or beside.strip():
        raise NotPlain
    for child in item:
        _plain(child)
    return item


def _compiled(item: ET.Element, spec: Spec) -> _Read:
    """From the texts of an item to its value; each leaf of this tree says the place of its text."""
    if isinstance(spec, Leaf):
        convert = spec.convert
        if len(item) or not item.text:
            return lambda _: convert("")
        place = int(item.text)
        return lambda texts: convert(texts[place])
    if isinstance(spec, Items):
        each = [_compiled(one, spec.each) for one in item.iterfind("item")]
        return lambda texts: [read(texts) for read in each]
    members = [
        (name, _compiled(child, inner))
        for child in item
        if child.tag in spec
        for name, inner in [spec[child.tag]]
    ]
    return lambda texts: {name: read(texts) for name, read in members}
