"""What people hand to `attestation verify`: documents as text or bytes, registers, times."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from faults import Refused, UsageFault

# Nitro documents are an untagged COSE_Sign1, an array of four: no ASCII text begins so.
_RAW = b"\x84"
_HEX = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_PCR = re.compile(r"([0-9]{1,2})=(?:0x)?([0-9a-fA-F]{96})")


def read_document(given: bytes) -> bytes:
    """The document's bytes, from themselves, hex or base64 (either alphabet); raises Refused."""
    if given.startswith(_RAW):
        return given
    text = b"".join(given.split())
    if found := _HEX.fullmatch(text):
        return bytes.fromhex(found[1].decode())
    try:
        plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise Refused("the document is neither raw CBOR nor hex nor base64") from error


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
        raise UsageFault(f"--at {given[:40]} is not a time in ISO 8601") from error
