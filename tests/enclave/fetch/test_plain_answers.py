"""What hosts of plain https files answer, by kind: the file's bytes, something that is not about
the file, and pieces of several files. Only the first can have a job refused for good."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import tempfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enclave.eif.format import HEADER_BYTES
from enclave.eif.writer import ImageSpec, build
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import fetch_file
from enclave.fetch.plain import WrongDigest
from enclave.fetch.store import StoredImage
from enclave.web.guard import Guard, OutOfTime
from enclave.web.http import Unreachable
from faults import Refused
from tests.enclave.fetch.test_open_urls import URL, Mapped, fetcher
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.integration

OLD, NEW, LONGER = (
    build(ImageSpec(kernel=letter * size, cmdline=b"c", ramdisks=[b"r" * 50_000]))
    for letter, size in ((b"k", 70_000), (b"j", 70_000), (b"j", 80_000))
)
NAMED = f"https://files.example/base.eif#sha256={hashlib.sha256(NEW).hexdigest()}"
PAGE = b"<html><head><title>Down for maintenance</title></head><body>soon</body></html>"
HALF = len(NEW) // 2


@dataclass(frozen=True)
class Says:
    """One answer. `framed`: "length", "chunked", or "close" (as HTTP/1.0: to the connection's end).
    `cut`: bytes after which the connection breaks. `ranges`: whether a range is heeded. To a range,
    where they are given: `to_range` is the status, `range_said` the Content-Range with START, LAST
    and SIZE in it, `bare` leaves the marks out, `most` bytes are sent."""

    body: bytes = NEW
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    framed: str = "length"
    cut: int | None = None
    ranges: bool = True
    to_range: int = 206
    range_said: str = "bytes START-LAST/SIZE"
    bare: bool = False
    most: int | None = None
    conditions: bool = False

    def __repr__(self) -> str:
        whose = {OLD: "OLD", NEW: "NEW", LONGER: "LONGER"}.get(self.body, self.body[:20])
        rest = {name: value for name, value in vars(self).items() if name != "body"}
        return f"Says({whose!r}, {rest})"


class Host(BaseHTTPRequestHandler):
    """Says one after the other, the last again and again."""

    says: list[Says]
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        one = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        ranged = self.headers.get("Range", "")
        self.asked.append(ranged)
        match = re.fullmatch(r"bytes=(\d+)-", ranged)
        start = int(match[1]) if match and one.ranges and one.status == 200 else 0
        condition = self.headers.get("If-Range", one.headers.get("ETag"))
        start = 0 if one.conditions and condition != one.headers.get("ETag") else start
        self.protocol_version = "HTTP/1.0" if one.framed == "close" else "HTTP/1.1"
        self.send_response(one.to_range if start else one.status)
        body = one.body[start:][: one.most] if start else one.body
        if start:
            self.send_header("Content-Range", _range_said(one, start, len(body)))
        for name, value in () if start and one.bare else one.headers.items():
            self.send_header(name, value)
        self._send(body, one)
        self.close_connection = True

    def _send(self, body: bytes, one: Says) -> None:
        if one.framed == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif one.framed == "length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if one.framed == "chunked":
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        self.wfile.write(body[: one.cut])

    def log_message(self, format: str, *args: object) -> None: ...


def _range_said(one: Says, start: int, size: int) -> str:
    numbers = {"START": start, "LAST": start + size - 1, "SIZE": len(one.body)}
    said = one.range_said
    for name, number in numbers.items():
        said = said.replace(name, str(number))
    return said


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "sleep", lambda guard, seconds: guard.remaining())


@pytest.fixture(params=[URL, NAMED], ids=["open", "named"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def fetch(folder: Path, url: str, *says: Says, rounds: int = 3) -> StoredImage:
    """By a host that says these."""
    Host.asked.clear()
    with http_server(type("Saying", (Host,), {"says": list(says)})) as server:
        one = fetcher(folder, f"http://127.0.0.1:{server.server_address[1]}")
        one._limits = replace(one._limits, rounds=rounds)
        try:
            return await one.fetch(url, holder="job-1")
        finally:
            await one.close()


def whole(image: StoredImage, data: bytes = NEW) -> bool:
    found = image.path.read_bytes()
    same = found == data  # not in the assertion: what pytest says of two images takes minutes
    assert same, f"another file, of {len(found)} bytes"
    return image.sha256 == hashlib.sha256(data).hexdigest()


THE_FILE = [
    Says(),
    Says(framed="chunked"),
    Says(framed="close"),
    *(Says(headers={"Content-Type": kind}) for kind in ("text/plain", "text/html; a=b", "x/json")),
    *(Says(headers={"Content-Encoding": coding})
      for coding in ("identity", "Identity", "none", "binary", "aws-chunked",
                     "identity, identity", "aws-chunked,")),
    Says(status=206, headers={"Content-Range": f"bytes 0-{len(NEW) - 1}/{len(NEW)}"}),
    Says(framed="chunked", headers={"Content-Type": "text/plain", "ETag": 'W/"1"'}),
]  # fmt: skip


@pytest.mark.parametrize("says", THE_FILE)
async def test_host__however_it_sends_the_file__it_is_taken(
    tmp_path: Path, url: str, says: Says
) -> None:
    assert whole(await fetch(tmp_path, url, says, rounds=1))


NO_ANSWER = [
    (Says(PAGE, headers={"Content-Type": "text/html; charset=utf-8"}), "Down for maintenance"),
    (Says(PAGE, headers={"Content-Type": "TEXT/HTML"}, framed="chunked"), "Down for maintenance"),
    (Says(PAGE * 20, headers={"Content-Type": "application/xhtml+xml"}, framed="close"), "page"),
    (Says(b'{"error":"try later"}', headers={"Content-Type": "application/json"}), "try later"),
    (Says(b"<Error><Code>SlowDown", headers={"Content-Type": "application/xml"}), "SlowDown"),
    (Says(b"", headers={"Content-Type": "text/plain"}), "page"),
    (Says(PAGE, 503, {"Content-Type": "text/html", "Retry-After": "9"}), "too busy.*maintenance"),
    (Says(b"<Message>Request has expired", 403, {"Content-Type": "application/xml"}), "expired"),
    (Says(b"gone", 410, {"Content-Type": "text/plain"}), "removed it for good.*: gone"),
    *((Says(headers={"Content-Encoding": coding}), "compresses")
      for coding in ("gzip", "br", "zstd", "gzip, identity", "identity,gzip", "deflate")),
    (Says(headers={"Content-Encoding": "identity", "content-encoding": "gzip"}), "compresses"),
    (Says(NEW[:100], framed="close"), "says no length, and sends 100 bytes"),
    (Says(NEW[:-1], framed="close"), f"ended after {len(NEW) - 1} of {len(NEW)} bytes|changed"),
    (Says(NEW + b"?", framed="chunked"), "sends more than"),
    (Says(status=206, headers={"Content-Range": "bytes 0-9/*"}), "status 206 and no range"),
    (Says(status=206, headers={"Content-Range": f"bytes 5-9/{len(NEW)}"}), "another part"),
    (Says(status=204, body=b""), "status 204"),
]  # fmt: skip


@pytest.mark.parametrize(("says", "why"), NO_ANSWER)
async def test_host__answers_with_something_else__is_asked_again_and_says_what(
    tmp_path: Path, url: str, says: Says, why: str
) -> None:
    """Nothing of that is about the file: not the end of a job, whose user named a good one."""
    with pytest.raises(Unreachable, match=f"(?i){why}"):
        await fetch(tmp_path, url, says, rounds=1)
    assert whole(await fetch(tmp_path, url, says, Says(), rounds=2))


@pytest.mark.parametrize("framed", ["length", "chunked"])
@pytest.mark.parametrize("body", [bytes(5000), NEW[:4] + bytes(5000), b"\x7fELF" + bytes(900)])
async def test_host__a_file_that_is_no_image__is_refused_at_once(
    tmp_path: Path, url: str, body: bytes, framed: str
) -> None:
    says = Says(body, headers={"Content-Type": "application/octet-stream"}, framed=framed)
    with pytest.raises(Refused):
        await fetch(tmp_path, url, says, Says())
    assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob("*.eif")]


MARKS = [{"ETag": '"{}"'}, {"Last-Modified": "Sat, 28 Nov 2026 12:00:0{} GMT"}, {}]


def marked(says: Says, mark: dict[str, str], version: int) -> Says:
    return replace(says, headers={k: v.format(version) for k, v in mark.items()})


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
@pytest.mark.parametrize("mark", MARKS, ids=["etag", "date", "nothing"])
@pytest.mark.parametrize("before", [OLD, LONGER], ids=["same-size", "another-size"])
async def test_host__replaces_the_file_while_it_is_fetched__the_new_one_is_taken_whole(
    tmp_path: Path, url: str, before: bytes, mark: dict[str, str], ranges: bool
) -> None:
    """Never one that begins as the old and ends as the new, and no refusal because of it."""
    old = marked(Says(before, cut=HALF), mark, 1)
    new = marked(Says(NEW, ranges=ranges), mark, 2)
    assert whole(await fetch(tmp_path, url, old, new))


@pytest.mark.parametrize("mark", MARKS[:2], ids=["etag", "date"])
async def test_host__breaks_off_and_has_the_same_file__goes_on_where_it_was(
    tmp_path: Path, url: str, mark: dict[str, str]
) -> None:
    broken, rest = marked(Says(cut=HALF), mark, 1), marked(Says(), mark, 1)
    assert whole(await fetch(tmp_path, url, broken, broken, rest))


@pytest.mark.parametrize("framed", ["length", "chunked"])
@pytest.mark.parametrize("mark", MARKS[:2], ids=["etag", "date"])
async def test_host__breaks_off_at_any_place__not_one_byte_is_asked_for_twice(
    tmp_path: Path, url: str, mark: dict[str, str], framed: str
) -> None:
    """But those of an image's header, which are read at once to see what it is."""
    cuts = [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 65_536, len(NEW) - 1]
    for cut in cuts:
        broken = marked(Says(cut=cut + (7 if framed == "chunked" else 0), framed=framed), mark, 1)
        assert whole(await fetch(tmp_path / str(cut), url, broken, marked(Says(), mark, 1)))
        first = cut if cut >= HEADER_BYTES else 0
        assert Host.asked == ["", f"bytes={first}-" if first else ""]


async def test_host__names_a_date_and_does_not_repeat_it_with_a_part__goes_on(
    tmp_path: Path, url: str
) -> None:
    """It need not, to who sent it as a condition (RFC 9110, 15.3.7); an ETag it must."""
    for mark, goes_on in ((MARKS[1], True), (MARKS[0], url == NAMED)):
        says = marked(Says(bare=True), mark, 1)
        folder = tmp_path / str(goes_on) / next(iter(mark))
        assert whole(await fetch(folder, url, replace(says, cut=HALF), says))
        assert Host.asked == ["", f"bytes={HALF}-"] + ([] if goes_on else [""])


NO_PARTS = [
    *(Says(to_range=status) for status in (400, 403, 404, 412, 416, 500, 501, 503)),
    *(Says(range_said=said) for said in
      ("", "bytes", "bytes */SIZE", "bytes START-LAST/*", "bytes START-SIZE/SIZE", "bytes LAST-0/9",
       "bytes LAST-START/SIZE", "bytes START-START/SIZE", "bytes 7-LAST/SIZE",
       "lines START-LAST/SIZE", "bytes START-LAST/9", "bytes START-LAST/1SIZE",
       "bytes 0-LAST/SIZE")),
]  # fmt: skip


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("says", NO_PARTS)
async def test_host__answers_a_part_with_nonsense__is_asked_for_the_whole_file(
    tmp_path: Path, url: str, says: Says, rounds: int
) -> None:
    """It has the file all the same: a job must not end since the first answer broke off."""
    says = marked(says, MARKS[0], 1)
    assert whole(await fetch(tmp_path, url, replace(says, cut=HALF), says, rounds=rounds))
    assert Host.asked[-1] == "" or url == NAMED


async def test_host__sends_parts_smaller_than_asked__all_of_them_are_taken(
    tmp_path: Path, url: str
) -> None:
    """As caches do that keep files in slices."""
    says = marked(Says(most=20_000), MARKS[0], 1)
    assert whole(await fetch(tmp_path, url, replace(says, cut=HALF), says, rounds=2))
    assert Host.asked == ["", *(f"bytes={at}-" for at in range(HALF, len(NEW), 20_000))]


async def test_host__breaks_off_after_each_byte__is_left_when_the_time_is_over(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not held by the number of rounds, since each brings more; a pause lies between them."""
    now, pauses = [0.0], list[float]()

    def sleep(guard: Guard, seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds
        guard.remaining()

    monkeypatch.setattr(Guard, "sleep", sleep)
    clocked = FetchLimits(min_free_disk_bytes=0, stall_seconds=2, max_seconds=20, rounds=4)
    says = marked(Says(cut=1), MARKS[0], 1)
    Host.asked.clear()
    with http_server(type("Saying", (Host,), {"says": [replace(says, cut=600), says]})) as server:
        place = f"http://127.0.0.1:{server.server_address[1]}"
        reach = Reach([], open_urls=True, connect=lambda guard: Mapped(guard, place))
        with pytest.raises(OutOfTime):
            fetch_file(url, tmp_path / "x", reach, clocked, clock=lambda: now[0])
    assert len(Host.asked) <= 2 * len(pauses) + 2 <= 60
    assert not list(tmp_path.iterdir())


BUSY = Says(b"", 503, {"Retry-After": "7"})
DATED = Says(b"", 429, {"Retry-After": "Wed, 31 Dec 2098 23:59:59 GMT"})


@pytest.mark.parametrize(("says", "rest"), [(BUSY, 7.0), (DATED, 10.0)])
async def test_host__asks_to_be_left_alone__is_for_so_long_or_half_of_the_time(
    tmp_path: Path, url: str, says: Says, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on after that where it was."""
    pauses = list[float]()
    monkeypatch.setattr(Guard, "sleep", lambda guard, seconds: pauses.append(seconds))
    begun = marked(Says(cut=HALF), MARKS[0], 1)
    assert whole(await fetch(tmp_path, url, begun, says, replace(begun, cut=None), rounds=3))
    assert max(pauses) == pytest.approx(rest, abs=1.0)
    assert Host.asked == ["", f"bytes={HALF}-", f"bytes={HALF}-"]


@pytest.mark.parametrize("cut", [9_000, HALF // 4 + 1])
async def test_host__breaks_off_again_and_again__is_asked_as_long_as_it_brings_more(
    tmp_path: Path, url: str, cut: int
) -> None:
    """Proxies end long answers by the clock: no number of rounds is enough for a large file."""
    assert whole(await fetch(tmp_path, url, marked(Says(cut=cut), MARKS[0], 1), rounds=2))


async def test_host__breaks_off_behind_the_last_byte__is_not_needed_where_a_digest_tells(
    tmp_path: Path, url: str
) -> None:
    """A chunked answer whose end never comes."""
    endless = marked(Says(framed="chunked", cut=len(b"%x\r\n" % len(NEW)) + len(NEW)), MARKS[0], 1)
    if url == NAMED:
        assert whole(await fetch(tmp_path, url, endless, rounds=1))
    else:
        assert whole(await fetch(tmp_path, url, endless, marked(Says(), MARKS[0], 1), rounds=2))


@pytest.mark.parametrize("says", [Says(status=500), Says(cut=9), Says(b"")])
async def test_host__fails_where_the_digest_is_that_of_nothing__nothing_is_no_image(
    tmp_path: Path, says: Says
) -> None:
    nothing = f"https://files.example/base.eif#sha256={hashlib.sha256(b'').hexdigest()}"
    with pytest.raises((Unreachable, Refused)):
        await fetch(tmp_path, nothing, says)


@pytest.mark.parametrize("etag", ["\xe9", "a" * 5000, '"a\tb"', "\xff\xfe", ""])
async def test_host__a_mark_that_can_t_be_sent_back__is_none(
    tmp_path: Path, url: str, etag: str
) -> None:
    odd = {"ETag": etag}
    assert whole(await fetch(tmp_path, url, Says(cut=HALF, headers=odd), Says(headers=odd)))


def test_host__each_server_of_it_marks_the_file_otherwise__a_digest_goes_on_without_marks(
    tmp_path: Path,
) -> None:
    one, other = (
        Says(headers={"ETag": mark}, conditions=True, cut=HALF + 1) for mark in ('"1"', '"2"')
    )
    Host.asked.clear()
    image = asyncio.run(fetch(tmp_path, NAMED, one, other, one, other, rounds=2))
    assert image.sha256 == hashlib.sha256(NEW).hexdigest()
    assert len(Host.asked) == 3


@pytest.mark.parametrize(
    "body", [gzip.compress(NEW), b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_host__file_of_another_kind__is_named_as_that(
    tmp_path: Path, body: bytes, url: str
) -> None:
    for framed in ("length", "close") if len(body) > HEADER_BYTES else ("length",):
        with pytest.raises(Refused, match=r"gzip|Git LFS"):
            asyncio.run(fetch(tmp_path, url, Says(body, framed=framed)))


async def test_host__another_file_in_one_answer__is_the_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(WrongDigest):
        await fetch(tmp_path, NAMED, Says(OLD), Says())


async def test_fetcher__a_size_by_the_image_s_own_header__is_bounded_before_its_bytes(
    tmp_path: Path,
) -> None:
    with http_server(type("Saying", (Host,), {"says": [Says(framed="chunked")]})) as server:
        one = fetcher(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        one._limits = replace(one._limits, max_bytes=len(NEW) - 1)
        with pytest.raises(Refused, match=f"has {len(NEW)} bytes; at most"):
            await one.fetch(URL, holder="job-1")
        await one.close()


BEGINS_WELL = st.sampled_from([
    Says(), Says(OLD), Says(LONGER), Says(framed="chunked"), Says(OLD, framed="chunked"),
    Says(NEW[:-9], framed="close"),
])  # fmt: skip
BREAKS = st.builds(
    lambda says, cut, ranges: replace(says, cut=cut, ranges=ranges),
    BEGINS_WELL,
    st.integers(1, len(NEW) - 10),
    st.booleans(),
)
NOTHING = st.sampled_from([says for says, _ in NO_ANSWER if says.body != NEW[:-1]])


@given(st.lists(BREAKS | NOTHING, max_size=4), st.sampled_from([URL, NAMED]), st.booleans())
@example([Says(OLD, cut=60_419, ranges=False), Says(OLD, cut=60_418)], URL, True)
@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
def test_host__any_row_of_answers_that_ends_with_the_file__gives_a_file_whole(
    rows: list[Says], url: str, has_marks: bool
) -> None:
    """Nothing in one piece is another file; a version's mark is that version's alone. An older one
    may come whole in two pieces of the same mark, and is the file then; a mixture never is."""
    versions = {NEW: 1, OLD: 2, LONGER: 3, NEW[:-9]: 4}
    mark = MARKS[0] if has_marks else {}
    said = [marked(one, mark, versions.get(one.body, 9)) if one.cut else one for one in rows]
    with tempfile.TemporaryDirectory() as folder:
        end = marked(Says(), mark, 1)
        image = asyncio.run(fetch(Path(folder), url, *said, end, rounds=3 * len(rows) + 2))
        found = image.path.read_bytes()
    known = found in ([NEW, OLD, LONGER] if url != NAMED and has_marks else [NEW])
    assert known, f"another file, of {len(found)} bytes"
    assert image.sha256 == hashlib.sha256(found).hexdigest()
