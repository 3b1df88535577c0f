"""What the body of an answer says to people, which is often the only place where a reason is said.

Pages, plain text, JSON, and the XML of object stores (S3 and what speaks like it, Google's and
Azure's): their code, their sentence, and the place that they send to without a redirect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from typing import Final

import httpcore

import foreign_json
from enclave.shown import shown
from faults import TryElsewhere

MAX_SENTENCE_CHARS: Final = 100
_READ_BYTES: Final = 4096
_TITLE: Final = re.compile(rb"<title[^>]{0,100}>([^<]{1,300})", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]{0,300}>")
# In a JSON error, the member that is for people; nested ones (`error: {reason}`) are looked into.
_TELLING: Final = ("message", "Message", "error", "reason", "details", "detail", "errorMessage")
_BEGINS_XML: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml ")
# In an XML error; the endpoint before the sentence, which is long.
_XML_TELLING: Final = tuple(
    re.compile(rb"<%b>([^<]{1,300})</" % name) for name in (b"Code", b"Endpoint", b"Message")
)


def words(body: bytes, kind: str) -> str:
    """What the beginning of a body of this type says to people, in one printable line of
    MAX_SENTENCE_CHARS; empty: nothing. A page's title stands for the page."""
    title = _TITLE.search(body)
    if title is not None:
        text = title[1].decode(errors="replace")
    elif kind == "text/html":
        text = _TAG.sub(" ", body.decode(errors="replace"))
    elif kind.endswith("xml") or _BEGINS_XML.match(body):
        text = _xml_words(body)
    elif kind.endswith("json") or body[:1] == b"{":
        text = _json_words(body)
    else:
        text = body.decode(errors="replace") if _is_text(body) else ""
    return shown(" ".join(unescape(text).split()), MAX_SENTENCE_CHARS)


def first_bytes(pieces: Iterator[bytes]) -> bytes:
    """The first piece of a body, cut: more of it is not waited for."""
    with suppress(httpcore.NetworkError, httpcore.ProtocolError, TryElsewhere, StopIteration):
        return next(pieces)[:_READ_BYTES]
    return b""


def _is_text(body: bytes) -> bool:
    return b"\0" not in body and body[:1] != b"\x1f"


def _json_words(body: bytes) -> str:
    try:
        found = foreign_json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    for _ in range(3):
        if not isinstance(found, dict):
            break
        found = next((found[key] for key in _TELLING if found.get(key)), "")
    return found if isinstance(found, str) else ""


def _xml_words(body: bytes) -> str:
    told = [
        found[1].decode(errors="replace") for one in _XML_TELLING if (found := one.search(body))
    ]
    return ": ".join(told) or _TAG.sub(" ", body.decode("utf-8-sig", errors="replace"))
