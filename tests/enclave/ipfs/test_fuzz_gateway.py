"""Whatever a gateway answers: a verified block, or a fault of that gateway in one bounded line.

Answers are made from a grammar, of parts that are sound or odd in one way: status lines, interim
answers, headers, framing, bodies, redirects; then bytes are changed or cut off. Sound ones have to
be taken. HYPOTHESIS_PROFILE=thorough looks longer.
"""

from __future__ import annotations

import gzip
import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.cid import RAW, Cid, cid_of
from enclave.ipfs.car import car_frame, car_header
from enclave.ipfs.gateway import CAR_TYPE, RAW_TYPE, Gateway
from enclave.web.guard import Guard
from faults import TryElsewhere
from tests.enclave.bounds import bounded, bytes_changed
from tests.fuzz.budget import examples

pytestmark = pytest.mark.unit

BLOCK = b"a block of an image " * 20
CID = cid_of(BLOCK, RAW)
OTHER = b"another block"
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
MOST_CHARS = 400  # of what is said: it stands in a log line and in a terminal


@dataclass(frozen=True)
class Said:
    """Bytes of one answer, and whether each part of it was sound."""

    data: bytes
    sound: bool


# A part of an answer and whether it is sound; the sound ones come first, and more often.
SOUND_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 Fine by me"]
ODD_LINES = [
    *(b"HTTP/1.1 %d X" % status for status in (204, 206, 300, 304, 400, 401, 403, 404, 406, 410)),
    *(b"HTTP/1.1 %d X" % status for status in (429, 451, 500, 502, 503, 504, 522, 599, 600, 999)),
    *(b"HTTP/2 200", b"HTTP/1.1 2000 OK", b"200 OK", b"", b"ICY 200 OK", b"HTTP/1.1", b"\0\0\0"),
]
INTERIM = [
    b"",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 3,
]
SOUND_HEADERS = [
    b"Server: cloudflare", b"X-Ipfs-Path: /ipfs/x", b"Content-Encoding: identity", b"Etag: \"a\"",
    b"Content-Disposition: attachment; filename=\"x\"", b"cache-control: public, immutable",
    b"Retry-After: 5", b"X-Long: " + b"a" * 2000,
]  # fmt: skip
ODD_HEADERS = [
    b"Content-Encoding: gzip", b"Content-Encoding: gzip, gzip", b"Content-Encoding: br",
    b"Transfer-Encoding: gzip, chunked", b"Content-Length: -1", b"Content-Length: 9" * 3,
    b"Content-Length: " + b"9" * 400, b": empty", b"no colon", b"X\0Y: z", b"X: " + b"a" * 200_000,
]  # fmt: skip
RAW_BODIES = [
    BLOCK, BLOCK[:-1], BLOCK + b"x", OTHER, b"", gzip.compress(BLOCK), b"<html><title>Wait",
    b'{"Message":"not found"}', bytes(1 << 20),
]  # fmt: skip
CAR = car_header(CID) + car_frame(CID, BLOCK)
CAR_BODIES = [
    CAR, car_header() + car_frame(CID, BLOCK), CAR + CAR[-500:], CAR[:-3], car_header(CID), b"",
    car_header(CID) + car_frame(CID, OTHER), car_header(CID) + car_frame(cid_of(OTHER), OTHER),
    car_header(CID) + b"\x80" * 20, b"\x00" + CAR, car_header(CID) + car_frame(CID, BLOCK) * 50,
]  # fmt: skip


@st.composite
def answers(draw: st.DrawFn, kind: str, bodies: Sequence[bytes]) -> Said:
    """One answer to a request for `kind`, whose first body is the right one."""
    odd_at = draw(st.sampled_from(["none"] * 3 + ["line", "header", "type", "body", "frame"]))
    line = draw(st.sampled_from(ODD_LINES if odd_at == "line" else SOUND_LINES))
    headers = draw(st.lists(st.sampled_from(SOUND_HEADERS), max_size=3, unique=True))
    if odd_at == "header":
        headers.append(draw(st.sampled_from(ODD_HEADERS)))
    types = [f"Content-Type: {kind}", f"content-type: {kind.upper()}; version=1; x=y"]
    odd_types = ["Content-Type: text/html", "Content-Type:", "X-Type: y", f"Content-Type: {kind}x"]
    headers.append(draw(st.sampled_from(odd_types if odd_at == "type" else types)).encode())
    body = draw(st.sampled_from(bodies[1:])) if odd_at == "body" else bodies[0]
    framed, more = draw(frames(body, sound=odd_at != "frame", chunks=b"HTTP/1.1" in line))
    parts = [draw(st.sampled_from(INTERIM)) + line, *headers, *more, b"Connection: close", b"", b""]
    return Said(b"\r\n".join(parts) + framed, odd_at == "none")


@st.composite
def frames(draw: st.DrawFn, body: bytes, *, sound: bool, chunks: bool) -> tuple[bytes, list[bytes]]:
    """The body as it is sent, and the headers that say how."""
    way = draw(st.sampled_from(["length", "close", "chunked"] if chunks else ["length", "close"]))
    if not sound:
        lie = draw(st.sampled_from(["long", "short", "broken chunks", "no end", "both"]))
        if lie in ("long", "short"):
            return body, [b"Content-Length: %d" % (len(body) + (7 if lie == "long" else -7))]
        odd = {"broken chunks": b"zz\r\n", "no end": b"", "both": b"0\r\n\r\n"}[lie]
        more = [b"Transfer-Encoding: chunked"] + [b"Content-Length: 3"] * (lie == "both")
        return _chunked(body, 50) + odd, more
    if way == "chunked":
        size = draw(st.sampled_from([1, 7, 1 << 20]))
        end = draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nX-Stream-Error: none\r\n\r\n"]))
        return _chunked(body, size) + end, [b"Transfer-Encoding: chunked"]
    return body, [b"Content-Length: %d" % len(body)] if way == "length" else []


def _chunked(body: bytes, size: int) -> bytes:
    cut = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in cut)


PLACES = [
    "/elsewhere", "", "?format=raw", "//[", "http://169.254.169.254/", "https://u:p@x.example/",
    "file:///etc/passwd", "http://\x7f/", "/" + "a" * 5000, "http://localhost:1/", "\u00e4",
]  # fmt: skip


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """Answers to one question after the other, the last of them for good, and whether the block has
    to be had by them."""
    raw = draw(answers(RAW_TYPE, RAW_BODIES))
    car = draw(answers(f"{CAR_TYPE}", CAR_BODIES))
    said, sound = [raw.data, car.data], raw.sound
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.sampled_from(PLACES))
        moved = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nConnection: close\r\n\r\n"
        said, sound = [moved.encode("latin-1"), *said], sound and place == PLACES[0]
    if draw(st.booleans()):
        return said, sound
    at = draw(st.integers(0, len(said) - 1))
    said[at] = draw(bytes_changed(said[at]))
    return said, False


class Server:
    """One for all examples: answers the n-th connection with the n-th of what is to be said."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._said: list[bytes] = []
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def says(self, said: Sequence[bytes]) -> None:
        self._said = list(said)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.recv(65_536)
                client.sendall(self._said.pop(0) if len(self._said) > 1 else self._said[0])


@contextmanager
def running() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


def guard() -> Guard:
    return Guard(time.monotonic, time.monotonic() + 30, 10).fork(math.inf)


def is_told_well(fault: TryElsewhere) -> bool:
    return str(fault).isprintable() and 0 < len(str(fault)) <= MOST_CHARS


@settings(
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(conversations())
def test_block__any_conversation__the_block_or_a_fault_in_one_line(
    server: Server, conversation: tuple[list[bytes], bool]
) -> None:
    said, sound = conversation
    server.says(said)
    session = Gateway(server.url).open(guard())
    block, fault = b"", None
    with bounded(sum(map(len, said)) + (1 << 20)), closing(session):
        try:
            block = session.block(CID)
        except TryElsewhere as broken:
            fault = broken
    assert block == BLOCK if fault is None else is_told_well(fault)
    assert fault is None or not sound


@settings(
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(answers(CAR_TYPE, CAR_BODIES), st.data())
def test_car__any_answer__verified_blocks_and_perhaps_a_fault(
    server: Server, answer: Said, data: st.DataObject
) -> None:
    changed = answer.data if answer.sound else data.draw(bytes_changed(answer.data))
    server.says([changed])
    found: list[tuple[Cid, bytes]] = []
    session = Gateway(server.url).open(guard())
    fault = None
    with bounded(len(changed) + (1 << 20)), closing(session):
        try:
            found += session.car(CID, 0)
        except TryElsewhere as broken:
            fault = broken
    assert fault is None or (is_told_well(fault) and not answer.sound)
    assert all(cid.matches(block) for cid, block in found)
    if answer.sound:
        assert (CID, BLOCK) in found
