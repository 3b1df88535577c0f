"""Files by their URL alone: what was found first is what is run, whatever the host serves later."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpcore
import pytest

from enclave.cid import RAW, SHA2_256, Cid
from enclave.eif.writer import ImageSpec, build
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import ImageFetcher
from enclave.fetch.plain import WrongDigest
from enclave.fetch.store import ImageStore
from enclave.web.guard import Guard
from enclave.web.http import HttpSession, Unreachable
from faults import Refused
from tests.enclave.fetch.test_plain import Host as Parts
from tests.enclave.fetch.test_plain import serving
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.integration

FIRST, SECOND = (
    build(ImageSpec(kernel=letter * 70_000, cmdline=b"c", ramdisks=[b"r" * 50_000]))
    for letter in (b"k", b"j")
)
URL = "https://files.example/base.eif?X-Amz-Signature=s3cret&v=1"
LIMITS = FetchLimits(min_free_disk_bytes=0, stall_seconds=2, max_seconds=20, rounds=1)


@dataclass
class Shelf:
    """What the host at files.example has now, and what was asked of it."""

    data: bytes = FIRST
    status: int = 200
    asked: list[str] = field(default_factory=list)


class Host(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        self.shelf.asked.append(self.path)
        self.send_response(self.shelf.status)
        self.send_header("Content-Length", str(len(self.shelf.data)))
        self.end_headers()
        self.wfile.write(self.shelf.data)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None: ...


class Mapped(HttpSession):
    """Asks a server of this machine where files.example is meant, behind all checks of the name."""

    def __init__(self, guard: Guard, place: str) -> None:
        super().__init__(guard, trusted=place)
        self._place = place

    @contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[httpcore.Response]:
        with super().get(url.replace("https://files.example", self._place), headers) as response:
            yield response


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def place(shelf: Shelf) -> Iterator[str]:
    with http_server(type("Serving", (Host,), {"shelf": shelf})) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def fetcher(folder: Path, place: str) -> ImageFetcher:
    reach = Reach([], open_urls=True, connect=lambda guard: Mapped(guard, place))
    return ImageFetcher(ImageStore(folder, quota_bytes=10_000_000), reach, LIMITS)


async def test_first_fetch__is_measured_and_known_by_its_digest(
    tmp_path: Path, place: str, shelf: Shelf
) -> None:
    one = fetcher(tmp_path, place)
    image = await one.fetch(URL, holder="job-1")
    assert image.sha256 == hashlib.sha256(FIRST).hexdigest()
    assert image.path.read_bytes() == FIRST
    assert len(image.pcrs[0]) == 96
    assert shelf.asked == ["/base.eif?X-Amz-Signature=s3cret&v=1"]
    assert not list(tmp_path.rglob("*.part"))
    assert "s3cret" not in repr(image)
    await one.close()


async def test_pinned__file_changed_since__the_first_is_run_from_the_store_and_nobody_is_asked(
    tmp_path: Path, place: str, shelf: Shelf
) -> None:
    one = fetcher(tmp_path, place)
    pin = (await one.fetch(URL, holder="job-1")).sha256
    await one.close()
    shelf.data = SECOND
    again = fetcher(tmp_path, place)  # another process
    assert (await again.fetch(URL, holder="job-1", pin=pin)).sha256 == pin
    assert len(shelf.asked) == 1
    await again.close()


@pytest.mark.parametrize("data", [SECOND, SECOND[:-1], FIRST[:-1] + b"x"])
async def test_pinned__file_changed_and_the_first_is_lost__is_refused_and_says_so(
    tmp_path: Path, place: str, shelf: Shelf, data: bytes
) -> None:
    pin = hashlib.sha256(FIRST).hexdigest()
    shelf.data = data
    one = fetcher(tmp_path, place)
    with pytest.raises(Refused) as no:
        await one.fetch(URL, holder="job-1", pin=pin)
    if isinstance(no.value, WrongDigest):
        assert "when this job was taken" in str(no.value)
        assert pin in str(no.value)
    assert "s3cret" not in str(no.value)
    assert not list(tmp_path.rglob("*.eif"))
    await one.close()


async def test_pinned__part_of_an_earlier_fetch_is_there__only_the_rest_is_asked_for(
    tmp_path: Path,
) -> None:
    ranges: list[str | None] = []

    class Ranged(Parts):
        data = FIRST

        def do_GET(self) -> None:
            ranges.append(self.headers.get("Range"))
            super().do_GET()

    pin = hashlib.sha256(FIRST).hexdigest()
    with serving(Ranged) as there:
        one = fetcher(tmp_path, there)
        part = tmp_path / "images" / f"{Cid(RAW, SHA2_256, bytes.fromhex(pin)).canonical}.part"
        part.write_bytes(FIRST[:90_000].ljust(len(FIRST), b"\0"))
        image = await one.fetch(URL, holder="job-1", pin=pin)
        await one.close()
    assert image.path.read_bytes() == FIRST
    assert ranges == ["bytes=90000-"]


async def test_another_job__gets_what_is_there_now(
    tmp_path: Path, place: str, shelf: Shelf
) -> None:
    one = fetcher(tmp_path, place)
    first = await one.fetch(URL, holder="job-1")
    same = await one.fetch(URL, holder="job-2")
    shelf.data = SECOND
    other = await one.fetch(URL, holder="job-3")
    assert first.cid == same.cid != other.cid
    assert other.path.read_bytes() == SECOND
    await one.close()


async def test_many_at_once__share_one_download(tmp_path: Path, place: str, shelf: Shelf) -> None:
    one = fetcher(tmp_path, place)
    found = await asyncio.gather(*(one.fetch(URL, holder=f"job-{n}") for n in range(5)))
    assert len({image.cid for image in found}) == 1
    assert len(shelf.asked) == 1
    await one.close()


@pytest.mark.parametrize("status", [404, 403, 500])
async def test_host__without_the_file__is_asked_again_later(
    tmp_path: Path, place: str, shelf: Shelf, status: int
) -> None:
    shelf.status = status
    one = fetcher(tmp_path, place)
    with pytest.raises(Unreachable, match=str(status)):
        await one.fetch(URL, holder="job-1")
    await one.close()


@pytest.mark.parametrize("data", [b"", b"<html>no image</html>", bytes(100_000)])
async def test_file__that_is_no_image_or_too_large__is_refused_and_leaves_nothing(
    tmp_path: Path, place: str, shelf: Shelf, data: bytes
) -> None:
    shelf.data = data
    one = fetcher(tmp_path, place)
    with pytest.raises(Refused):
        await one.fetch(URL, holder="job-1")
    assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob("*.eif")]
    await one.close()


async def test_file__larger_than_is_taken__is_refused_before_its_bytes(
    tmp_path: Path, place: str, shelf: Shelf
) -> None:
    reach = Reach([], open_urls=True, connect=lambda guard: Mapped(guard, place))
    limits = replace(LIMITS, max_bytes=len(FIRST) - 1)
    one = ImageFetcher(ImageStore(tmp_path, quota_bytes=10_000_000), reach, limits)
    with pytest.raises(Refused, match=f"has {len(FIRST)} bytes; at most {len(FIRST) - 1}"):
        await one.fetch(URL, holder="job-1")
    await one.close()


async def test_host__that_leads_to_this_network__is_not_asked(tmp_path: Path) -> None:
    def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "169.254.169.254"]

    reach = Reach([], open_urls=True, resolve=resolve)
    one = ImageFetcher(ImageStore(tmp_path, quota_bytes=10_000_000), reach, LIMITS)
    with pytest.raises(Unreachable, match=r"10\.0\.0\.1, which is not a public"):
        await one.fetch(URL, holder="job-1")
    await one.close()
