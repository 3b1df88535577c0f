"""What people hand to `attestation verify`: documents as text or bytes, registers, times."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import foreign_json
from faults import Refused, UsageFault

# Nitro documents are an untagged COSE_Sign1, an array of four: no ASCII text begins so.
_RAW = b"\x84"
_TAGGED = b"\xd2\x84"  # by the tag of a COSE_Sign1 (RFC 9052, 4.2)
_MOST_DEPTH = 4  # of members within members
_HEX = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_PCR = re.compile(r"([0-9]{1,2})=(?:0x)?([0-9a-fA-F]{96})")


def read_document(given: bytes) -> bytes:
    """The document's bytes, from themselves, hex or base64 (either alphabet), or JSON with one of
    these in it, or with an array of its bytes, as servers answer; raises Refused."""
    if given.startswith((_RAW, _TAGGED)):
        return _untagged(given)
    text = b"".join(_plain_text(given).split())
    try:
        return _untagged(_decoded(text))
    except binascii.Error:
        found = _in_json(text)
    if len(found) == 1:
        return found.pop()
    if found:
        raise Refused(f"there are {len(found)} documents in this JSON: give one of them")
    raise Refused("the document is neither raw CBOR nor hex nor base64, nor JSON with one of these")


def _untagged(document: bytes) -> bytes:
    """Some libraries put COSE's tag before what the security module wrote; nothing signs it."""
    return document[1:] if document.startswith(_TAGGED) else document


def _plain_text(given: bytes) -> bytes:
    """As UTF-8: a redirect of PowerShell writes UTF-16, and editors a mark before either."""
    if given.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return given.decode("utf-16", errors="replace").encode()
    return given.removeprefix(codecs.BOM_UTF8)


def _decoded(text: bytes) -> bytes:
    """From hex or base64. Raises binascii.Error."""
    if found := _HEX.fullmatch(text):
        return bytes.fromhex(found[1].decode())
    plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _in_json(text: bytes) -> set[bytes]:
    try:
        return set(_documents(foreign_json.loads(text), _MOST_DEPTH))
    except (ValueError, RecursionError):
        return set()


def _documents(value: object, depth: int) -> Iterator[bytes]:
    """What begins as a document does, in any member."""
    if isinstance(value, str):
        with suppress(binascii.Error, UnicodeEncodeError):
            document = _untagged(_decoded(b"".join(value.encode().split())))
            yield from (document,) if document.startswith(_RAW) else ()
    elif isinstance(value, list) and all(type(one) is int and 0 <= one < 256 for one in value):
        document = _untagged(bytes(value))
        yield from (document,) if document.startswith(_RAW) else ()
    elif isinstance(value, list | dict) and depth:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _documents(each, depth - 1)


def expected_pcrs(given: Iterable[str]) -> dict[int, str]:
    """Registers from `N=HEX`; raises UsageFault."""
    pcrs: dict[int, str] = {}
    for each in given:
        found = _PCR.fullmatch(each)
        if not found or int(found[1]) > 31:
            raise UsageFault(f"--pcr {each[:40]}: write N=HEX with N of 0 to 31 and 96 hex digits")
        if pcrs.setdefault(int(found[1]), found[2].lower()) != found[2].lower():
            raise UsageFault(f"--pcr {found[1]} was given twice, with two values")
    return pcrs


def read_time(given: str | None) -> datetime:
    """The time in ISO 8601, UTC where it names no zone, or now; raises UsageFault."""
    if given is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(given)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        example = "2026-11-22T08:00:00Z"
        raise UsageFault(f"--at {given[:40]} is not a time in ISO 8601: {example}") from error
