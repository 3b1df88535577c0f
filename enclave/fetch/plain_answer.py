"""One answer of a plain https host: which part of which file it is, or why it is none.

Whoever serves a file may say its length or not, may answer a part with all of it, and may answer
with a page for people and status 200: "down for maintenance", "log in first", "not found". None of
that says anything of the file. Sources: RFC 9110 and 9112; what object stores, CDNs and static
hosts answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import httpcore

from enclave.eif.format import HEADER_BYTES, MAGIC, ImageRefused, header_faults, unpack_header
from enclave.eif.other_files import looks_like
from enclave.ipfs.answers import Busy, bad_answer
from enclave.web.http import Unreachable, body, header, is_packed
from enclave.web.words import words

# No number that int() would refuse for its length.
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
# It is sent back, so it must be fit for that.
_MARK: Final = re.compile(r"[!-~](?:[ -~]{0,198}[!-~])?")


# Of them only this one always means it; a proxy may answer a range with any other.
_NO_SUCH_RANGE: Final = 416


class NoRange(Unreachable):
    """No part of this file can be had: the host says so, contradicts itself, or has another now."""


class AskedToRest(Unreachable):
    """The host wants to be left alone for `rest_seconds`."""

    def __init__(self, text: str, rest_seconds: float) -> None:
        super().__init__(text)
        self.rest_seconds = rest_seconds


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to before `end`, at most, of a file of `size` bytes. `mark` tells versions of
    the file apart by the host's word; empty: it has none. `looks` is what its beginning seems to
    be, if it is no image and known."""

    start: int
    end: int
    size: int
    mark: str
    pieces: Iterator[bytes]
    looks: str = ""


def read_part(response: httpcore.Response) -> Part:
    """What the answer brings. Reads the first bytes of a file that is sent from its beginning.

    Raises Unreachable where it brings no file, ImageRefused where its length must be taken from
    an image's header, and that is none.
    """
    if response.status not in (200, 206):
        raise _no_file(response)
    if is_packed(response):
        raise Unreachable("the host compresses what must be exact")
    start, end, size = _extent(response)
    said = header(response, "etag") or header(response, "last-modified")
    mark = said if _MARK.fullmatch(said) else ""
    pieces, head = body(response), b""
    if start == 0:
        head, pieces = _begun(pieces)
        _check_no_page(response, head)
        size = _size_by_header(head) if size is None else size
    assert size is not None  # a part says it
    return Part(start, end or size, size, mark, pieces, looks_like(head))


def is_date(mark: str) -> bool:
    """Whether it is no ETag, which is quoted (RFC 9110, 8.8.3)."""
    return not mark.startswith(('"', 'W/"'))


def _no_file(response: httpcore.Response) -> Unreachable:
    fault = bad_answer(response, "host")
    if isinstance(fault, Busy):
        return AskedToRest(str(fault), fault.rest_seconds)
    return (NoRange if response.status == _NO_SUCH_RANGE else Unreachable)(str(fault))


def _extent(response: httpcore.Response) -> tuple[int, int, int | None]:
    """Where the body starts and ends in the file, and the file's size; 0 and None: not said."""
    if response.status == 206:
        said = header(response, "content-range")
        match = _CONTENT_RANGE.fullmatch(said)
        start, last, size = map(int, match.groups()) if match else (0, -1, 0)
        if not start <= last < size:
            raise NoRange(f"the host answers with status 206 and no range: {said!r:.40}")
        return start, last + 1, size
    length = header(response, "content-length")
    if not length or header(response, "transfer-encoding"):  # which counts: RFC 9112, 6.3
        return 0, 0, None
    if not length.isdecimal() or len(length) > 18:
        raise Unreachable(f"the host answers with the length {length!r:.40}")
    return 0, 0, int(length)


def _begun(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The file's first bytes, as many as an image's header has; and the body with them."""
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) >= HEADER_BYTES:
            break
    return bytes(head), chain([bytes(head)] if head else [], pieces)


def _check_no_page(response: httpcore.Response, head: bytes) -> None:
    """A page for people is no file, and none of its bytes are the file's. What is an image is one
    whatever it is called: hosts call a file that they don't know text/plain."""
    kind = header(response, "content-type").partition(";")[0].strip().lower()
    is_page = kind.startswith("text/") or kind.endswith(("json", "xml", "html"))
    if is_page and not head.startswith(MAGIC):
        said = words(head, kind)
        text = f"the host answers with a page ({kind[:40]}), not with a file"
        raise Unreachable(f"{text}: {said}" if said else text)


def _size_by_header(head: bytes) -> int:
    """The length that the only acceptable file with this beginning has (`format.end_faults`)."""
    if len(head) < HEADER_BYTES:
        raise Unreachable(f"the host says no length, and sends {len(head)} bytes")
    found = unpack_header(head)
    if broken := tuple(header_faults(found)):
        raise ImageRefused(*broken)
    return found.file_bytes
