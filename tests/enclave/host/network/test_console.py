"""A console's lines: numbered, bounded, whole however they were cut; and those who read along."""

from __future__ import annotations

import itertools
import json
import resource
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.host.network import http as serving
from enclave.host.network.console import LINE_BYTES, MOST_READERS, Lines, events, respond
from enclave.host.network.console_log import AGAIN_SECONDS, ConsoleLog, forget
from enclave.host.network.http import Server
from enclave.host.network.loop import Loop
from enclave.host.network.shares import STILL_SECONDS

pytestmark = pytest.mark.integration

HALF = b"[9999] half a li"
NOWHERE = ConsoleLog(Path("/nowhere"))


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
    assert found == [(n, f"[{n}] {text}") for n, text in enumerate(texts, 1)]
    assert lines.since(1) == [text for _, text in found]
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
    assert [len(line) for _, line in found] == [LINE_BYTES + 4] * 3
    assert lines.end() == [(4, "[4] x")]
    assert lines.end() == []


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
    assert json.loads(respond(path, lines, NOWHERE).body) == [f"[{n}] {n}" for n in numbers]


@given(
    acts=st.lists(
        st.lists(st.text("aé", max_size=60), max_size=9) | st.sampled_from(["again", "torn"]),
        max_size=20,
    )
)  # fmt: skip
def test_log__any_flood_and_any_restarts__is_the_newest_lines_within_its_bound(
    acts: list[list[str] | str],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, lines, said = Path(name) / "console", Lines(), list[str]()
        log = ConsoleLog(folder, files=3, file_bytes=200)
        for act in acts:
            if isinstance(act, list):
                added = lines.add("".join(f"{text}\n" for text in act).encode())
                log.add(added, 0.0)
                said += [text for _, text in added]
                continue
            log.close()
            if act == "torn" and folder.exists():  # a process killed while it wrote
                newest = max(folder.iterdir())
                whole = newest.read_bytes().removesuffix(HALF)
                newest.write_bytes(whole + HALF)
            log = ConsoleLog(folder, files=3, file_bytes=200)
            lines = Lines(before=log.tail(1 << 20))
        kept = log.since(0, 1000)
        assert kept == said[len(said) - len(kept) :]
        assert sum(len(text.encode()) + 1 for text in kept) >= min(_size(said), 200)
        for start, most in itertools.product((0, 1, len(said) - 3, len(said)), (0, 1, 4)):
            some = [text for at, text in enumerate(said, 1) if start <= at < start + most]
            assert log.since(start, most) == [text for text in some if text in kept]
        files = list(folder.iterdir()) if folder.exists() else []
        assert len(files) <= 3
        assert all(file.stat().st_size <= 200 + len(HALF) for file in files)
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
        log.close()


def _size(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def test_history__older_than_memory__comes_from_the_disk_without_a_seam(tmp_path: Path) -> None:
    log, lines = ConsoleLog(tmp_path / "console"), Lines(kept_bytes=50)
    log.add(lines.add(b"".join(b"line %d\n" % number for number in range(1, 101))), 0.0)
    assert lines.first > 90
    found = json.loads(respond("/logs/history?log_id=101&offset=100", lines, log).body)
    assert found == [f"[{n}] line {n}" for n in range(1, 101)]
    log.close()


@pytest.fixture
def tiny_disk() -> Iterator[Callable[[], None]]:
    """Files of 100 bytes, no more: a write ends half done, by the kernel. Call it to have room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield partial(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_log__disk_is_full__is_said_and_whole_again_when_it_is_not(
    tmp_path: Path, tiny_disk: Callable[[], None]
) -> None:
    log, lines = ConsoleLog(tmp_path / "console"), Lines()
    log.add(lines.add(b"x" * 60 + b"\n"), 0.0)
    assert log.problem is None
    log.add(lines.add(b"y" * 60 + b"\n"), 1.0)
    assert (log.problem or "").startswith("the console is kept in memory only: ")
    assert [number for number, _ in log.tail(1000)] == [1]
    tiny_disk()
    log.add(lines.add(b"z\n"), 1.0 + AGAIN_SECONDS)
    assert log.problem is None
    assert log.since(0, 9) == ["[1] " + "x" * 60, "[3] z"]
    log.close()


def test_log__its_folder_can_t_be__is_said_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "console").write_text("a file")
    log, lines = ConsoleLog(tmp_path / "console"), Lines()
    log.add(lines.add(b"one\n"), 0.0)
    assert log.problem == "the console is kept in memory only: File exists"
    assert (log.since(0, 9), log.tail(9)) == ([], [])
    forget(tmp_path / "console" / "nothing")


def test_log__a_link_where_a_file_was__is_not_followed(tmp_path: Path) -> None:
    log, lines, other = ConsoleLog(tmp_path / "console"), Lines(), tmp_path / "other"
    (tmp_path / "console").mkdir()
    other.write_text("not ours\n")
    (tmp_path / "console" / ("0" * 19 + "1")).symlink_to(other)
    log.add(lines.add(b"one\n"), 0.0)
    assert other.read_text() == "not ours\n"
    assert log.problem is not None


# What a parser of URLs takes for hosts, users, ports, escapes and queries, in any order.
ODD_PATHS = st.lists(
    st.sampled_from(
        ["/", "//", "[", "]", "?", "#", "@", ":", "%", "%0", "%zz", "&", "=", ";", "\xff", "\0",
         "/logs", "/history", "/stream", "log_id=", "offset=", "9" * 30, "-1", "\u0663", "\u00b2"]
    ) | st.text(max_size=3), max_size=12,
).map("".join)  # fmt: skip


@given(path=ODD_PATHS)
@example("//[")  # urllib: "Invalid IPv6 URL"
def test_respond__any_path__is_an_answer(path: str) -> None:
    assert respond(path, Lines(), NOWHERE).status in (200, 404)
    assert respond(f"/logs/{path}", Lines(), NOWHERE).status in (200, 404)


@contextmanager
def asked(respond: Callable[[str], serving.Answer]) -> Iterator[Callable[[bytes], bytes]]:
    """A server on a loop; call it with a request for all that it answers."""
    loop, listener = Loop(), socket.socket(socket.AF_UNIX)
    server = Server(loop, lambda: 0.0, respond, most=4)
    listener.bind("")
    listener.listen()
    listener.setblocking(False)
    server.open([listener])

    def ask(request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(listener.getsockname())
            sock.sendall(request)
            for _ in range(4):
                loop.turn(0)
            return sock.recv(4096)

    yield ask
    server.close()
    loop.close()


@pytest.mark.parametrize("path", [b"//[", b"//]:x", b"/logs/history?log_id=%", b"\xff", b"*"])
def test_server__an_odd_path_of_a_stranger__is_answered_and_so_is_the_next(path: bytes) -> None:
    """The process carries all connections of the enclave: none of them may end by it."""
    with asked(lambda path: respond(path, Lines(), NOWHERE)) as ask:
        assert ask(b"GET " + path + b" HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 ")
        assert b'{"log_id": 0}' in ask(b"GET /logs/tail-log-id HTTP/1.1\r\n\r\n")


def test_server__an_answerer_that_breaks__is_a_500_told_once_and_serves_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(path: str) -> serving.Answer:
        raise LookupError("a bug")

    with asked(broken) as ask:
        for _ in range(3):
            assert ask(b"GET /x HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert capsys.readouterr().err == "no answer to '/x': LookupError('a bug')\n"


class Crowd:
    """Readers of one console by their addresses, at times that are said."""

    def __init__(self, most: int) -> None:
        self.now, self.loop, self.lines = 0.0, Loop(), Lines()
        self.server = Server(
            self.loop, lambda: self.now, lambda path: respond(path, self.lines, NOWHERE), most=most
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.server.open([self._listener])
        self._wires: list[socket.socket] = []

    def comes(self, host: str, path: str = "") -> socket.socket:
        """One from there, that asks for this; for nothing where it is empty."""
        wire = socket.create_connection(self._listener.getsockname(), 5, (host, 0))
        self._wires.append(wire)
        if path:
            wire.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        self.turns()
        return wire

    def follows(self, host: str) -> socket.socket:
        return self.comes(host, "/logs/stream?start_from=1")

    def said(self, text: str) -> None:
        self.server.publish(events([line for _, line in self.lines.add(text.encode())]))
        self.turns()

    def turns(self) -> None:
        for _ in range(6):
            self.loop.turn(0)

    def close(self) -> None:
        self.server.close()
        for wire in self._wires:
            wire.close()
        self.loop.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    one = Crowd(MOST_READERS)
    yield one
    one.close()


def heard(wire: socket.socket) -> tuple[bytes, bool]:
    """What came, and whether the connection is over."""
    got, over = b"", False
    wire.settimeout(0.05)
    try:
        while not over:
            data = wire.recv(1 << 16)
            got, over = got + data, not data
    except TimeoutError:
        pass
    except ConnectionResetError:
        over = True
    return got, over


STRANGER, OWNER = "127.0.0.2", "127.0.0.3"
here = pytest.mark.allow_hosts(["127.0.0.0/8"])


@here
def test_places__a_stranger_follows_with_all__the_owner_reads_and_the_oldest_is_told(
    crowd: Crowd,
) -> None:
    crowd.said("one\n")
    idle = [crowd.follows(STRANGER) for _ in range(MOST_READERS)]
    got, over = heard(crowd.comes(OWNER, "/logs/history?log_id=2&offset=9"))
    assert got.endswith(b'["[1] one"]')
    assert over
    owner = crowd.follows(OWNER)
    for _ in range(3 * MOST_READERS):  # comes again at once, and again
        crowd.follows(STRANGER)
    crowd.now += 5
    crowd.said("two\n")
    got, over = heard(owner)
    assert (got.endswith(b"data:[2] two\n\n"), over) == (True, False)
    ends = [heard(wire) for wire in idle]
    assert [over for _, over in ends] == [True] + [False] * (MOST_READERS - 1)
    assert ends[0][0].endswith(
        b"data:[1] one\n\nevent: cut\ndata:all places here are taken, and no address has more of"
        b" them than yours: this one is another reader's now\n\n"
    )


@here
def test_places__a_stranger_asks_nothing_with_all__the_owner_reads(
    crowd: Crowd,
) -> None:
    silent = [crowd.comes(STRANGER) for _ in range(MOST_READERS)]
    assert heard(crowd.comes(OWNER, "/logs/tail-log-id"))[0].endswith(b'{"log_id": 0}')
    assert heard(silent[0]) == (b"", True)


@here
def test_places__strangers_of_many_addresses__one_more_is_served(crowd: Crowd) -> None:
    for number in range(MOST_READERS):
        crowd.follows(f"127.0.1.{number}")
    owner = crowd.follows(OWNER)
    crowd.said("one\n")
    got, over = heard(owner)
    assert (got.endswith(b"data:[1] one\n\n"), over) == (True, False)


@here
def test_places__the_newcomer_s_own_address_has_most__its_oldest_goes_once_it_is_old(
    crowd: Crowd,
) -> None:
    """However much is said meanwhile: behind one address may be both, owner and stranger."""
    oldest, *others = [crowd.follows(STRANGER) for _ in range(MOST_READERS)]
    assert heard(crowd.comes(STRANGER, "/logs")) == (b"", True)
    crowd.now += STILL_SECONDS
    crowd.said("one\n")
    assert heard(crowd.comes(STRANGER, "/logs"))[0].endswith(b"[1] one\n")
    assert heard(oldest)[0].endswith(b"another reader's now\n\n")
    assert not any(over for _, over in map(heard, others))


@here
def test_places__one_that_is_behind_goes__no_line_of_it_is_torn(crowd: Crowd) -> None:
    behind, *_ = [crowd.follows(STRANGER) for _ in range(MOST_READERS)]
    for asking in list(crowd.server._asking.values())[:1]:
        asking.left = b"data:[1] not sent yet\n\n"
    crowd.comes(OWNER, "/logs")
    assert b"data:[1] not sent yet\n\nevent: cut\n" in heard(behind)[0]


@here
def test_places__who_left_and_who_came__are_counted_right(crowd: Crowd) -> None:
    """A place that is given back is there for the next, and no address keeps what it had."""
    for _ in range(3):
        wires = [crowd.follows(STRANGER) for _ in range(MOST_READERS)]
        for wire in wires:
            wire.close()
        crowd.turns()
        assert (crowd.server._asking, crowd.server._places.open) == ({}, 0)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def follower(lines: Lines) -> Iterator[tuple[Server, Loop, socket.socket]]:
    loop = Loop()
    server = Server(loop, lambda: 0.0, lambda path: respond(path, lines, NOWHERE), most=4)
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
    server.publish(events([text for _, text in lines.add(b"two\nthree\n")]))
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
