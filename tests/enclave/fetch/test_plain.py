from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from enclave.cid import RAW, SHA2_256, SHA2_384, Cid
from enclave.eif.format import MAGIC
from enclave.fetch import plain
from enclave.fetch.plain import PlainFetch, Take, WrongDigest
from enclave.fetch.plain_left import Left, left_at
from enclave.web.guard import Guard, Stalled
from enclave.web.http import HttpSession, Unreachable
from enclave.web.image_url import HttpsUrl
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.integration

DATA = bytes(range(256)) * 4000


class Host(BaseHTTPRequestHandler):
    """Serves DATA with ranges; subclasses misbehave."""

    protocol_version = "HTTP/1.1"
    data = DATA
    said_length: int | None = None
    ranges = True
    cut_after: int | None = None

    def do_GET(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and self.ranges else 0
        body = self.data[start:]
        self.send_response(206 if start else 200)
        if start:
            size = len(self.data)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(self.said_length or len(body)))
        self.end_headers()
        self.wfile.write(body if self.cut_after is None else body[: self.cut_after])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[Host]) -> Iterator[str]:
    with http_server(handler) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def fetch(
    handler: type[Host], *, name: str = "sha256", rounds: int = 1, left: Left | None = None
) -> tuple[int, bytes]:
    out, sizes = bytearray(), list[int]()

    def begin(size: int) -> Take:
        sizes.append(size)
        out.clear()
        return out.extend

    code = {"sha256": SHA2_256, "sha384": SHA2_384}[name]
    cid = Cid(RAW, code, hashlib.new(name, DATA).digest())
    guard = Guard(time.monotonic, time.monotonic() + 10, 0.5)
    with serving(handler) as url:
        one = PlainFetch(
            HttpsUrl(f"{url}/image", "127.0.0.1", cid),
            guard,
            lambda fork: HttpSession(fork, trusted=url),
            rounds=rounds,
        )
        one.run(begin, left)
    return sizes[-1], bytes(out)


@pytest.mark.parametrize("name", ["sha256", "sha384"])
def test_run__an_honest_host__gives_the_file(name: str) -> None:
    assert fetch(Host, name=name) == (len(DATA), DATA)


def test_run__a_connection_that_breaks__resumes_by_range() -> None:
    class Breaks(Host):
        cut_after = 400_000

    assert fetch(Breaks, rounds=3) == (len(DATA), DATA)


class Asked(Host):
    """Notes from which byte on it was asked."""

    starts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.starts.append(self.headers.get("Range", "all"))
        super().do_GET()


def left_of(folder: Path, data: bytes, size: int = len(DATA)) -> Left:
    part = folder / "a.part"
    part.write_bytes(data.ljust(size, b"\0"))
    return Left(part, size, len(data))


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (DATA[:400_000], ["bytes=400000-"]), (DATA, []), (b"", ["all"]),
        (b"?" + DATA[1:400_000], ["bytes=400000-", "all"]), (b"?" + DATA[1:], ["all"]),
    ],
)  # fmt: skip
def test_run__part_of_an_earlier_fetch__is_gone_on_from_and_proven_in_the_end(
    tmp_path: Path, data: bytes, asked: list[str]
) -> None:
    class Noting(Asked):
        starts: ClassVar[list[str]] = []

    assert fetch(Noting, rounds=2, left=left_of(tmp_path, data)) == (len(DATA), DATA)
    assert Noting.starts == asked


def test_run__part_of_another_size_or_no_ranges__is_read_anew(tmp_path: Path) -> None:
    class Whole(Asked):
        ranges = False

    for host, size in ((Host, len(DATA) + 1), (Whole, len(DATA))):
        left = left_of(tmp_path, DATA[:400_000], size)
        assert fetch(host, rounds=3, left=left) == (len(DATA), DATA)


@pytest.mark.parametrize("came", [0, 3, 4, 548, 1 << 20, (1 << 20) + 7, 3_000_000])
def test_left__what_came__ends_at_the_last_byte_that_is_none(tmp_path: Path, came: int) -> None:
    part, data = tmp_path / "a.part", (MAGIC + b"x" * 3_000_000)[:came]
    part.write_bytes(data.ljust(3_000_000, b"\0"))
    found = left_at(part)
    assert (found is not None) == (came >= len(MAGIC))
    if found is not None:
        assert (found.size, found.came) == (3_000_000, came)
        assert b"".join(found.pieces()) == data


def test_left__nothing_there__is_none(tmp_path: Path) -> None:
    assert left_at(tmp_path / "a.part") is None
    assert left_at(tmp_path) is None


def test_run__no_ranges__begins_anew() -> None:
    class Breaks(Host):
        ranges = False
        answers = 0

        def do_GET(self) -> None:
            type(self).answers += 1
            self.cut_after = 300_000 if self.answers == 1 else None
            super().do_GET()

    assert fetch(Breaks, rounds=2) == (len(DATA), DATA)


def test_run__another_file__is_refused() -> None:
    class Other(Host):
        data = DATA[:-1] + b"?"

    with pytest.raises(WrongDigest, match="not the file that the digest"):
        fetch(Other, rounds=5)


def test_run__another_size_each_time__is_begun_anew_and_never_taken() -> None:
    class Changes(Host):
        answers = 0
        ranges = False

        def do_GET(self) -> None:
            type(self).answers += 1
            self.cut_after = 10
            self.said_length = len(DATA) + self.answers
            super().do_GET()

    with pytest.raises(Unreachable):
        fetch(Changes, rounds=3)


def test_run__a_file_that_always_ends_early__is_unreachable() -> None:
    class Short(Host):
        cut_after = 0

    with pytest.raises(Unreachable):
        fetch(Short, rounds=2)


@pytest.mark.parametrize(("status", "length"), [(404, "0"), (200, None), (200, "-1"), (206, "5")])
def test_run__no_size__is_unreachable(status: int, length: str | None) -> None:
    class Odd(Host):
        def do_GET(self) -> None:
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.close_connection = True

    with pytest.raises(Unreachable):
        fetch(Odd)


@pytest.mark.parametrize("said", ["9" * 5000, "-1", "*", "10/10", "\u00b9"])
def test_run__a_part_of_a_size_that_is_none__is_unreachable(said: str) -> None:
    class Odd(Host):
        def do_GET(self) -> None:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-1/{said}")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"xx")
            self.close_connection = True

    with pytest.raises(Unreachable, match="answers with status 206"):
        fetch(Odd)


def test_run__a_silent_host__stalls_when_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "PATIENCE_SECONDS", 0.6)
    over = threading.Event()

    class Silent(Host):
        def do_GET(self) -> None:
            over.wait(5)

    try:
        with pytest.raises(Stalled, match=r"no answer for 0\.6 s"):
            fetch(Silent)
    finally:
        over.set()
