"""Whole fetches: from a URL to a measured image in a store or a file."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from devnet.ipfs.blocks import Blocks
from enclave.cid import RAW, SHA2_256, SHA2_384, Cid, parse_cid
from enclave.eif.measure import measure_file
from enclave.eif.writer import ImageSpec, build
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import ImageFetcher, fetch_file
from enclave.fetch.store import Busy, ImageStore, StoredImage
from enclave.ipfs.gateway import Gateway
from enclave.web.guard import Cancelled, OutOfTime
from faults import Refused, RetryLater
from tests.enclave import gateway as lying
from tests.enclave.fetch.test_store import keep

pytestmark = pytest.mark.integration

IMAGE = build(
    ImageSpec(kernel=b"k" * 70_000, cmdline=b"c", ramdisks=[b"r" * 50_000, b"s" * 90_000])
)
LIMITS = FetchLimits(min_free_disk_bytes=0, stall_seconds=2, max_seconds=20, rounds=1)


@dataclass
class World:
    folder: Path
    blocks: Blocks = field(default_factory=lambda: Blocks(chunk_bytes=4096, width=8))
    stack: ExitStack = field(default_factory=ExitStack)
    limits: FetchLimits = LIMITS
    quota_bytes: int = 10_000_000

    def serve(self, kind: type[lying.Counting] = lying.Counting) -> lying.Counting:
        made = kind(self.blocks)
        self.stack.enter_context(made)
        return made

    def fetcher(self, *gateways: lying.Counting) -> ImageFetcher:
        store = ImageStore(self.folder / "store", quota_bytes=self.quota_bytes)
        return ImageFetcher(store, reach(*gateways), self.limits)


def reach(*gateways: lying.Counting) -> Reach:
    return Reach([Gateway(one.url) for one in gateways])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.stack:
        yield made


@pytest.fixture
def url(world: World) -> str:
    return f"ipfs://{world.blocks.add_file(IMAGE).cid}"


def test_fetch_file__an_image__is_whole_and_measured(
    world: World, url: str, tmp_path: Path
) -> None:
    target, seen = tmp_path / "image.eif", []
    gateway = world.serve()
    image = fetch_file(
        url, target, reach(gateway), LIMITS, progress=lambda done, size: seen.append((done, size))
    )
    measured = measure_file(target)
    assert target.read_bytes() == IMAGE
    assert (image.path, image.size_bytes) == (target, len(IMAGE))
    assert image.sha256 == hashlib.sha256(IMAGE).hexdigest() == measured.sha256
    assert image.pcrs == measured.pcrs
    assert image.cid == url.removeprefix("ipfs://")
    assert image.sources == (gateway.url,)
    assert seen == sorted(seen)
    assert seen[-1] == (len(IMAGE), len(IMAGE))
    assert [path.name for path in tmp_path.iterdir()] == ["image.eif"]


@pytest.mark.parametrize("data", [b"", b"no image", IMAGE[:-1], IMAGE + b"x", b"\x7fELF" + IMAGE])
def test_fetch_file__no_enclave_image__is_refused_and_leaves_nothing(
    world: World, tmp_path: Path, data: bytes
) -> None:
    target = tmp_path / "image.eif"
    target.write_bytes(b"what was there before")
    cid = world.blocks.add_file(data).cid
    with pytest.raises(Refused):
        fetch_file(str(cid), target, reach(world.serve()), LIMITS)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there before"]


def test_fetch_file__larger_than_allowed__is_refused_before_its_bytes(
    world: World, url: str, tmp_path: Path
) -> None:
    gateway = world.serve()
    limits = replace(LIMITS, max_bytes=len(IMAGE) - 1)
    with pytest.raises(Refused, match=f"at most {len(IMAGE) - 1}"):
        fetch_file(url, tmp_path / "image", reach(gateway), limits)
    assert [kind for kind, _ in gateway.asked] == ["raw"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond half of the image: what a full disk says, to this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(IMAGE) // 2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_fetch_file__a_disk_too_small__is_met_before_its_bytes(
    world: World, url: str, tmp_path: Path
) -> None:
    gateway = world.serve()
    with pytest.raises(RetryLater, match="no disk space"):
        fetch_file(url, tmp_path / "image", reach(gateway), LIMITS)
    assert [kind for kind, _ in gateway.asked] == ["raw"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_disk")
def test_fetch_file__a_disk_that_fills_meanwhile__leaves_nothing(
    world: World, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file system takes the space and then has not got it."""
    monkeypatch.setattr("os.posix_fallocate", lambda *_: None)
    with pytest.raises(RetryLater, match="cannot be written"):
        fetch_file(url, tmp_path / "image", reach(world.serve()), LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_fetch_file__its_time_is_over__says_what_had_come_and_who_was_silent(
    world: World, url: str, tmp_path: Path
) -> None:
    ahead = 0.0

    def late() -> None:
        nonlocal ahead
        ahead += 1000

    class Silent(lying.Silent):
        def raw(self, cid: Cid) -> bytes | None:
            late()
            return super().raw(cid)

    class Stalls(lying.Stalls):
        def bent(self, frames: lying.Frames) -> lying.Frames:
            late()
            return super().bent(frames)

    limits = replace(LIMITS, max_seconds=500, stall_seconds=5000)
    for kind, said in ((Silent, "nothing.*: no answer"), (Stalls, r"bytes.*: gave some of it")):
        gateway = world.serve(kind)
        with pytest.raises(OutOfTime, match=rf"{said}\)$") as over:
            fetch_file(
                url, tmp_path / "x.eif", reach(gateway), limits,
                clock=lambda: time.monotonic() + ahead,
            )  # fmt: skip
        assert f"had come ({gateway.url}" in str(over.value)


def test_fetch_file__no_time_for_its_size__is_not_begun(
    world: World, url: str, tmp_path: Path
) -> None:
    gateway = world.serve()
    limits = replace(LIMITS, line_bytes_per_second=1000)
    with pytest.raises(OutOfTime, match="can't arrive"):
        fetch_file(url, tmp_path / "image", reach(gateway), limits)
    assert [kind for kind, _ in gateway.asked] == ["raw"]


async def test_fetcher__two_at_once__share_one_download(world: World, url: str) -> None:
    gateway = world.serve()
    fetcher = world.fetcher(gateway)
    other = f"{url.removeprefix('ipfs://')}"
    images = await asyncio.gather(*(fetcher.fetch(each, holder=each) for each in (url, other)))
    await fetcher.close()
    assert images[0] == images[1]
    assert [kind for kind, _ in gateway.asked] == ["raw", "car"]


async def test_fetcher__again__asks_nobody_and_measures_nothing(world: World, url: str) -> None:
    gateway = world.serve()
    first = await _once(world.fetcher(gateway), url)
    gateway.asked.clear()
    assert await _once(world.fetcher(gateway), url) == first
    assert gateway.asked == []


async def test_fetcher__a_hundred_ask_for_a_kept_image__each_gets_it_at_the_first_try(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = world.fetcher(world.serve())
    kept = await fetcher.fetch(url, holder="first")
    busy: list[str] = []
    claim = ImageStore.claim

    def noted(store: ImageStore, holder: str, cid: Cid) -> StoredImage | None:
        try:
            return claim(store, holder, cid)
        except Busy:
            busy.append(holder)
            raise

    monkeypatch.setattr(ImageStore, "claim", noted)
    found = await asyncio.gather(*(fetcher.fetch(url, holder=f"job-{n}") for n in range(100)))
    assert {one.cid for one in found} == {kept.cid}
    assert busy == []
    await fetcher.close()


async def test_fetcher__a_path_that_was_resolved__needs_no_gateway_later(world: World) -> None:
    root = world.blocks.add_directory({"image.eif": world.blocks.add_file(IMAGE)})
    url = f"ipfs://{root.cid}/image.eif"
    first = await _once(world.fetcher(world.serve()), url)
    assert await _once(world.fetcher(), url) == first


async def test_fetcher__a_held_image__survives_what_a_released_one_does_not(world: World) -> None:
    world.quota_bytes = len(IMAGE) + 50_000
    other = build(ImageSpec(kernel=b"other" * 10_000, cmdline=b"c", ramdisks=[b"r"]))
    urls = [str(world.blocks.add_file(data).cid) for data in (IMAGE, other)]
    fetcher = world.fetcher(world.serve())
    held = await fetcher.fetch(urls[0], holder="job/1")
    with pytest.raises(RetryLater, match="jobs use the other images"):
        await fetcher.fetch(urls[1], holder="job/2")
    assert held.path.exists()
    await fetcher.release("job/1")
    await fetcher.fetch(urls[1], holder="job/2")
    assert not held.path.exists()
    await fetcher.close()


async def test_fetcher__one_caller_gives_up__the_other_gets_it(world: World, url: str) -> None:
    gate = threading.Event()

    class Gated(lying.Counting):
        def raw(self, cid: object) -> bytes | None:
            gate.wait(5)
            return super().raw(cid)  # type: ignore[arg-type]  # as it came

    fetcher = world.fetcher(world.serve(Gated))
    impatient = asyncio.create_task(fetcher.fetch(url, holder="a"))
    patient = asyncio.create_task(fetcher.fetch(url, holder="b"))
    await asyncio.sleep(0.05)
    impatient.cancel()
    await asyncio.wait([impatient])
    gate.set()
    assert (await patient).size_bytes == len(IMAGE)
    await fetcher.close()


async def test_fetcher__nobody_waits_any_more__the_download_stops(world: World, url: str) -> None:
    gateway = world.serve(lying.Silent)
    fetcher = world.fetcher(gateway)
    with pytest.raises(OutOfTime) as late:
        await fetcher.fetch(url, holder="a", seconds_left=0.2)
    assert f"nothing had come ({gateway.url}: no answer)" in str(late.value)
    await fetcher.close()
    assert list((world.folder / "store/images").iterdir()) == []


async def test_fetcher__less_time_of_the_first__is_not_the_others_end(
    world: World, url: str
) -> None:
    class Slow(lying.Counting):
        def raw(self, cid: object) -> bytes | None:
            threading.Event().wait(0.4)
            return super().raw(cid)  # type: ignore[arg-type]  # as it came

    fetcher = world.fetcher(world.serve(Slow))
    short = asyncio.create_task(fetcher.fetch(url, holder="a", seconds_left=0.2))
    await asyncio.sleep(0)
    assert (await fetcher.fetch(url, holder="b", seconds_left=10)).size_bytes == len(IMAGE)
    with pytest.raises(OutOfTime):
        await short
    await fetcher.close()


async def test_fetcher__closed__stops_what_runs(world: World, url: str) -> None:
    fetcher = world.fetcher(world.serve(lying.Silent))
    task = asyncio.create_task(fetcher.fetch(url, holder="a"))
    await asyncio.sleep(0.05)
    await fetcher.close()
    with pytest.raises((Cancelled, RetryLater)):
        await task


async def _cut_off(world: World, url: str) -> Path:
    """A fetch that got some leaves and then was stopped; what it left."""
    with pytest.raises(RetryLater):
        await _once(world.fetcher(world.serve(CutsForGood)), url)
    [part] = (world.folder / "store/images").iterdir()
    assert part.suffix == ".part"
    return part


class CutsForGood(lying.Counting):
    """The first ten blocks of a CAR, and no other answer any more."""

    def bent(self, frames: lying.Frames) -> lying.Frames:
        if len(self.asked) > 2:
            raise ConnectionAbortedError
        yield from itertools.islice(frames, 10)
        raise ConnectionAbortedError

    def raw(self, cid: Cid) -> bytes | None:
        return super().raw(cid) if len(self.asked) < 2 else None


async def test_fetcher__cut_off_before__goes_on_from_what_is_on_disk(
    world: World, url: str
) -> None:
    await _cut_off(world, url)
    gateway = world.serve()
    fetcher = world.fetcher(gateway)
    image = await fetcher.fetch(url, holder="a")
    await fetcher.close()
    assert image.path.read_bytes() == IMAGE
    assert image.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert image.pcrs == measure_file(image.path).pcrs
    [start] = [start for kind, start in gateway.asked if kind == "car"]
    assert isinstance(start, int)
    assert start >= 4 * 4096
    blocks = [cid for kind, cid in gateway.asked if kind == "raw"]
    assert all(isinstance(cid, Cid) and cid.codec != RAW for cid in blocks)


@pytest.mark.parametrize("at", [0, 4096])
async def test_fetcher__what_is_on_disk_was_altered__is_used_up_to_there_and_written_over(
    world: World, url: str, at: int
) -> None:
    part = await _cut_off(world, url)
    data = bytearray(part.read_bytes())
    data[at] ^= 1
    part.write_bytes(data)
    gateway = world.serve()
    fetcher = world.fetcher(gateway)
    image = await fetcher.fetch(url, holder="a")
    await fetcher.close()
    assert image.path.read_bytes() == IMAGE
    assert [start for kind, start in gateway.asked if kind == "car"] == [at // 4096 * 4096]


async def test_fetcher__a_part_of_nothing_but_the_file_itself__needs_no_leaf(
    world: World, url: str
) -> None:
    (await _cut_off(world, url)).write_bytes(IMAGE)
    gateway = world.serve()
    fetcher = world.fetcher(gateway)
    assert (await fetcher.fetch(url, holder="a")).path.read_bytes() == IMAGE
    await fetcher.close()
    assert {kind for kind, _ in gateway.asked} == {"raw"}


async def test_fetcher__another_process_fetches_it__waits_and_takes_its_image(
    world: World, url: str
) -> None:
    gateway = world.serve()
    first, second = world.fetcher(gateway), world.fetcher(gateway)
    images = await asyncio.gather(*(one.fetch(url, holder="a") for one in (first, second)))
    assert images[0] == images[1]
    assert [kind for kind, _ in gateway.asked].count("car") == 1
    await asyncio.gather(first.close(), second.close())


async def test_fetcher__a_bad_url__is_refused_before_any_request(world: World) -> None:
    gateway = world.serve()
    fetcher = world.fetcher(gateway)
    with pytest.raises(Refused, match="only ipfs:// and https://"):
        await fetcher.fetch("http://10.0.0.1/image.eif", holder="a")
    await fetcher.close()
    assert gateway.asked == []


async def test_fetcher__a_stored_https_image__is_found_by_either_digest(world: World) -> None:
    store = ImageStore(world.folder / "store", quota_bytes=world.quota_bytes)
    hosts = frozenset({"files.example"})
    for name, code in (("sha256", SHA2_256), ("sha384", SHA2_384)):
        digest = hashlib.new(name, IMAGE).digest()
        kept = keep(store, Cid(RAW, code, digest), len(IMAGE))
        fetcher = ImageFetcher(store, Reach([], hosts), LIMITS)
        url = f"https://files.example/image.eif#{name}={digest.hex()}"
        assert await fetcher.fetch(url, holder=name) == kept
        await fetcher.close()


async def test_fetcher__a_refused_image__is_refused_again_and_kept_nowhere(world: World) -> None:
    cid = world.blocks.add_file(b"no image" * 1000).cid
    fetcher = world.fetcher(world.serve())
    for _ in range(2):
        with pytest.raises(Refused):
            await fetcher.fetch(str(cid), holder="a")
    await fetcher.close()
    assert list((world.folder / "store/images").iterdir()) == []
    assert list((world.folder / "store/pins").iterdir()) == []


async def _once(fetcher: ImageFetcher, url: str) -> object:
    try:
        return await fetcher.fetch(url, holder="a")
    finally:
        await fetcher.close()


async def test_fetcher__bytes_altered_on_the_disk__are_fetched_anew(world: World, url: str) -> None:
    fetcher = world.fetcher(world.serve())
    kept = await fetcher.fetch(url, holder="job")
    rotten = bytearray(IMAGE)
    rotten[len(IMAGE) // 2] ^= 1
    kept.path.write_bytes(rotten)
    assert (await fetcher.fetch(url, holder="job")).path.read_bytes() == rotten, "nobody looked"
    await fetcher.distrust(kept.cid)
    again = await fetcher.fetch(url, holder="job")
    await fetcher.close()
    assert again.path.read_bytes() == IMAGE
    assert again.sha256 == kept.sha256


class TricklesOne(lying.Counting):
    """One file comes block by block with a pause before each; all others at once."""

    slow: Cid | None = None

    def frames(self, cid: Cid, start: int, scope: str) -> lying.Frames:
        for frame in super().frames(cid, start, scope):
            if cid == self.slow:
                threading.Event().wait(0.04)
            yield frame


async def test_fetcher__one_trickles_and_holds_every_slot__another_does_not_wait_for_it(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.fetch.fetcher.DOWNLOADS_AT_ONCE", 1)
    monkeypatch.setattr("enclave.fetch.slots.TURN_SECONDS", 0.3)
    quick = build(ImageSpec(kernel=b"quick" * 10_000, cmdline=b"c", ramdisks=[b"r"]))
    gateway = world.serve(TricklesOne)
    assert isinstance(gateway, TricklesOne)
    gateway.slow = parse_cid(url.removeprefix("ipfs://"))
    fetcher = world.fetcher(gateway)
    trickling = asyncio.create_task(fetcher.fetch(url, holder="hostile"))
    await asyncio.sleep(0.1)
    image = await fetcher.fetch(str(world.blocks.add_file(quick).cid), holder="honest")
    assert image.path.read_bytes() == quick
    assert not trickling.done()
    assert (await trickling).path.read_bytes() == IMAGE
    await fetcher.close()
    starts = [start for kind, start in gateway.asked if kind == "car" and isinstance(start, int)]
    assert max(starts) > 0, "it went on from what it had"


def test_kubo_client__no_node_is_configured__is_not_imported() -> None:
    """It is unmaintained and pulls much: who has no Kubo node runs none of it."""
    script = (
        "import sys; from enclave.fetch.download import Reach;"
        "from enclave.ipfs.kubo import KuboNode; import agent.wiring.agent;"
        "from enclave.ipfs.gateway import Gateway;"
        "Reach([Gateway('https://ipfs.io'), KuboNode('http://127.0.0.1:5001')]);"
        "found = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted(found & {'ipfshttpclient', 'multiaddr', 'netaddr', 'base58'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
