"""Whatever an enclave answers: a status and a body within bounds, or a missed answer in one line.

Answers from a grammar of heads, framing and ends, then changed; `make fuzz` looks longer.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.apply.short_answer import _Odd, _parsed, is_whole
from faults import RetryLater
from tests.enclave.bounds import bounded, bytes_changed
from tests.fuzz.budget import examples

pytestmark = pytest.mark.unit

LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 ", b"HTTP/1.1 503 X", b"HTTP/1.1 204 No"),
    *(b"HTTP/9 1", b""),
]
INTERIM = [
    *(b"", b"HTTP/1.1 100 Go on\r\n\r\n", b"HTTP/1.1 103 X\r\nA: b\r\n\r\n"),
    b"HTTP/1.1 1\r\n\r\n",
]
HEADERS = [
    b"Content-Length: 5", b"content-length:5", b"Content-Length: 99999999999", b"X",
    b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip, gzip",
    b": y", b"A: " + b"b" * 9000, b"X: y\r\n z", b"Content-Length: 5, 5", b"\xff: \xfe",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"hello more", b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nx\r\n" * 200, b"zz\r\n",
    b"0\r\n\r\n", b"ffffffffffffffffffff\r\nx", b"5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n", bytes(5000),
]  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    interim = b"".join(draw(st.lists(st.sampled_from(INTERIM), max_size=6)))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=4))
    head = b"\r\n".join([draw(st.sampled_from(LINES)), *headers, b"", b""])
    return draw(bytes_changed(interim + head + draw(st.sampled_from(BODIES))))


@settings(max_examples=examples(300))
@given(answers())
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx")
def test_answer__any__a_body_within_what_came_or_a_missed_one(said: bytes) -> None:
    with bounded(len(said)):
        with contextlib.suppress(_Odd):
            is_whole(said)
        try:
            status, body = _parsed(said, "http://192.0.2.1:1300/x")
        except RetryLater as missed:
            text = str(missed)
        else:
            text = f"{status}"
            assert len(body) <= len(said)
    assert text.isprintable()
    assert len(text) < 250


@settings(max_examples=examples(100))
@given(st.sampled_from(INTERIM[:3]), st.sampled_from([1, 7, 5000]), st.binary(max_size=300))
def test_answer__sound__is_whole_at_its_end_and_read(
    interim: bytes, size: int, body: bytes
) -> None:
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in cut) + b"0\r\n\r\n"
    for framed in (
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    ):
        said = interim + b"HTTP/1.1 200 OK\r\n" + framed
        assert is_whole(said)
        assert _parsed(said, "x") == (200, body)
