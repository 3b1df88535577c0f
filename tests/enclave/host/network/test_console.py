"""A console's lines: numbered, bounded, whole however they were cut; and those who read along."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.host.network import http as serving
from enclave.host.network.console import LINE_BYTES, Lines, events, respond
from enclave.host.network.http import Server
from enclave.host.network.loop import Loop

pytestmark = pytest.mark.integration


@given(
    texts=st.lists(st.text("abc é", max_size=30), max_size=30),
    cuts=st.lists(st.integers(1, 40), max_size=60),
)
def test_lines__cut_anywhere__come_whole_and_numbered(texts: list[str], cuts: list[int]) -> None:
    lines, data, found = Lines(), "".join(f"{text}\r\n" for text in texts).encode(), []
    while data:
        cut = cuts.pop() if cuts else len(data)
        found += lines.add(data[:cut])
        data = data[cut:]
    assert found == [f"[{n}] {text}" for n, text in enumerate(texts, 1)]
    assert lines.since(1) == found
    assert lines.last == len(texts)


@given(sizes=st.lists(st.integers(0, 300), max_size=100), kept=st.integers(0, 2000))
def test_lines__any_flood__no_more_is_kept_than_the_bound(sizes: list[int], kept: int) -> None:
    lines = Lines(kept)
    for size in sizes:
        lines.add(b"x" * size + b"\n")
    found = lines.since(0)
    assert sum(map(len, found)) <= kept
    assert (
        found
        == [f"[{n}] " + "x" * size for n, size in enumerate(sizes, 1)][len(sizes) - len(found) :]
    )


def test_lines__one_without_end__is_cut_in_pieces() -> None:
    lines = Lines()
    found = lines.add(b"x" * (3 * LINE_BYTES + 1))
    assert [len(line) for line in found] == [LINE_BYTES + 4] * 3
    assert len(lines._rest) == 1


@pytest.mark.parametrize(
    ("path", "numbers"),
    [("/logs/history", range(10, 20)), ("/logs/history?log_id=5&offset=2", range(3, 5)),
     ("/logs/history?log_id=5&offset=100", range(1, 21)), ("/logs/history?log_id=x", range(10, 20)),
     ("/logs/history?log_id=-1&offset=0", range(0)),
     ("/logs/history?offset=" + "9" * 30, range(10, 20))],
)  # fmt: skip
def test_history__asked_as_the_logger_is__has_its_defaults(path: str, numbers: range) -> None:
    lines = Lines()
    lines.add(b"".join(b"%d\n" % number for number in range(1, 21)))
    assert json.loads(respond(path, lines).body) == [f"[{n}] {n}" for n in numbers]


@given(path=st.text(max_size=50))
def test_respond__any_path__is_an_answer(path: str) -> None:
    assert respond(f"/logs/{path}", Lines()).status in (200, 404)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def follower(lines: Lines) -> Iterator[tuple[Server, Loop, socket.socket]]:
    loop = Loop()
    server = Server(loop, lambda: 0.0, lambda path: respond(path, lines), most=4)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    listener.setblocking(False)
    server.open([listener])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(listener.getsockname())
        sock.sendall(b"GET /logs/stream?start_from=1 HTTP/1.1\r\n\r\n")
        sock.settimeout(10)
        yield server, loop, sock
    server.close()
    loop.close()


def test_stream__reads_along__gets_each_line_once(
    lines: Lines, follower: tuple[Server, Loop, socket.socket]
) -> None:
    server, loop, sock = follower
    lines.add(b"one\n")
    for _ in range(5):
        loop.turn(0)
    server.publish(events(lines.add(b"two\nthree\n")))
    loop.turn(0)
    head, _, body = sock.recv(4096).partition(b"\r\n\r\n")
    assert b"text/event-stream" in head
    while not body.endswith(b"three\n\n"):
        body += sock.recv(4096)
    assert body == b"data:[1] one\n\ndata:[2] two\n\ndata:[3] three\n\n"


def test_stream__reads_nothing__is_let_go(
    lines: Lines, follower: tuple[Server, Loop, socket.socket]
) -> None:
    server, loop, _sock = follower
    for _ in range(5):
        loop.turn(0)
    assert len(server._asking) == 1
    for _ in range(2 * serving.BEHIND_BYTES // (1 << 16)):
        server.publish(b"x" * (1 << 16))
    server.publish(b"x")
    assert server._asking == {}
