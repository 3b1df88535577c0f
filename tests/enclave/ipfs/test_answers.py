"""What is made of answers that are none: by what to do, and in the gateway's own words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.ipfs.answers import (
    MAX_REST_SECONDS,
    BadAnswer,
    Busy,
    Withheld,
    bad_answer,
    rest_seconds,
    sentence,
)
from enclave.web.words import MAX_SENTENCE_CHARS

pytestmark = pytest.mark.unit

XML = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n\n'
    b"<Error><Code>%b</Code><Message>%b</Message><Key>a.eif</Key></Error>"
)
DATE = "Sat, 28 Nov 2026 12:00:00 GMT"


def response(status: int = 404, body: bytes = b"", **headers: str) -> httpcore.Response:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return httpcore.Response(status, headers=named, content=iter([body] if body else []))


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/plain; charset=utf-8", b"not pinned here\n", "not pinned here"),
        ("text/plain", b"a\x1b[2Jb\nc", "a\ufffd[2Jb c"),
        ("text/plain", b"x" * 5000, "x" * MAX_SENTENCE_CHARS),
        ("text/plain", b"\xff\xfe", "\ufffd\ufffd"),
        ("text/html", b"<html><head><title> Just a moment...</title>", "Just a moment..."),
        ("text/html", b"<TITLE lang=en>example.com | 522: Connection timed out</TITLE>",
         "example.com | 522: Connection timed out"),
        ("text/html", b"<html><h1>504</h1> <p>no providers</p>", "504 no providers"),
        ("application/json", b'{"Message":"block not found","Code":0}', "block not found"),
        ("application/json", b'{"error":{"reason":"ERR_ID:00024","details":7}}', "ERR_ID:00024"),
        ("application/json", b'{"error":"blocked"', '{"error":"blocked"'),
        ("", b'{"message":"slow down"}', "slow down"),
        ("application/json", b"[" * 4000, ("[" * 4000)[:MAX_SENTENCE_CHARS]),
        ("application/json", b'{"error":{"error":{"error":{"error":1}}}}', ""),
        ("application/octet-stream", b"\0\1\2", ""),
        ("image/png", b"\x1f\x8b1234", ""),
        ("text/plain", b"", ""),
        ("application/xml", XML % (b"NoSuchKey", b"The specified key does not exist."),
         "NoSuchKey: The specified key does not exist."),
        ("", b"\xef\xbb\xbf" + XML % (b"NotPermitted", b"Public access\nis not permitted."),
         "NotPermitted: Public access is not permitted."),
        ("text/xml", XML[40:] % (b"InvalidObjectState", b"It isn&apos;t valid"),
         "InvalidObjectState: It isn't valid"),
        ("application/xml", b"<?xml version='1.0'?><ListBucketResult><Name>b</Name>", "b"),
        ("application/problem+xml", b"<Message>never ends", "never ends"),
    ],
)  # fmt: skip
def test_sentence__what_is_for_people__is_kept_in_one_short_line(
    kind: str, body: bytes, said: str
) -> None:
    assert sentence(response(403, body, content_type=kind)) == said


def test_sentence__packed__is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 1_000_000)
    assert sentence(response(403, packed, content_type="text/plain", content_encoding="gzip")) == ""


def test_sentence__a_body_that_breaks__is_none() -> None:
    class Broken(Iterator[bytes]):
        def __next__(self) -> bytes:
            raise httpcore.ReadError

    assert sentence(httpcore.Response(403, content=Broken())) == ""


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"retry_after": "30"}, 30.0),
        ({"retry_after": " 0 "}, 0.0),
        ({"retry_after": "99999"}, MAX_REST_SECONDS),
        ({"retry_after": "9" * 500}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:45 GMT", "date": DATE}, 45.0),
        ({"retry_after": "Sat, 28 Nov 2026 11:00:00 GMT", "date": DATE}, 0.0),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:45 GMT"}, None),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:45", "date": DATE}, None),
    ],
)
def test_rest__retry_after__is_bounded_and_by_the_answers_own_clock(
    said: dict[str, str], seconds: float | None
) -> None:
    assert rest_seconds(response(429, b"", **said)) == seconds


STATUSES = st.integers(100, 999)
SENTENCES = st.binary(max_size=200) | st.text(max_size=60).map(str.encode) | st.sampled_from(
    [b"<title>x", b"{", b'{"error":null}', b'{"error":["x"]}', b'{"message":{"reason":7}}', b"null"]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "message", "reason", "x"]), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())  # fmt: skip


@given(
    STATUSES,
    SENTENCES,
    st.sampled_from(["text/plain", "text/html", "application/json", "", "a/b;" + "c" * 300]),
    st.none() | st.sampled_from(["5", "x", "-1", "1e9", DATE]),
)
def test_bad_answer__any__is_one_bounded_printable_line_that_says_the_status(
    status: int, body: bytes, kind: str, after: str | None
) -> None:
    headers = {"content_type": kind, "date": DATE} | ({"retry_after": after} if after else {})
    fault = bad_answer(response(status, body, **headers))
    assert f"status {status}" in str(fault)
    assert str(fault).isprintable()
    assert len(str(fault)) < 220
    assert fault.status == status
    assert isinstance(fault, Withheld) == (status in (401, 402, 403, 410, 451))
    if isinstance(fault, Busy):
        assert status in (429, 503)
        assert 0 <= fault.rest_seconds <= MAX_REST_SECONDS
    assert isinstance(fault, BadAnswer)
