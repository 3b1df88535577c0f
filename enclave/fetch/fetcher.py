"""From an enclaveUrl to a verified, measured image: the door to retrieval.

`ImageFetcher` serves an agent: async, one download however many ask, kept in a store.
`fetch_file` serves a person: one file at one place. Both refuse what is no enclave image.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from enclave.cid import Cid, parse_cid
from enclave.eif.measure import Measured, StreamingMeasurer
from enclave.fetch.pipeline import Pipeline
from enclave.fetch.plain import PlainFetch
from enclave.fetch.slots import Place, Turns
from enclave.fetch.store import Busy, ImageStore, StoredImage, allocate
from enclave.ipfs.assembly import Emit
from enclave.ipfs.gateway import Source, gateway_for
from enclave.ipfs.retrieval import IpfsFetch
from enclave.ipfs.source_standing import Standings
from enclave.ipfs.unixfs import Piece, Span
from enclave.web.guard import Cancelled, Guard, OutOfTime
from enclave.web.http import HttpSession, Resolve
from enclave.web.image_url import HttpsUrl, IpfsUrl, parse_image_url
from faults import Refused

# Each holds up to 60 MiB and keeps about one core busy; a trickling one holds little of both.
DOWNLOADS_AT_ONCE: Final = 8
_LOOK_AGAIN_SECONDS: Final = 0.5  # while another process fetches the same image

# Bytes done, bytes in all. Called in the thread that fetches.
Progress = Callable[[int, int], None]
_Kept = tuple[Cid, StoredImage]


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What an image may cost. `line_bytes_per_second`: what the network can do at the very best;
    an image that could not arrive in the time left even so is not begun."""

    max_bytes: int = 4 << 30
    max_seconds: float = 900.0
    stall_seconds: float = 20.0
    min_free_disk_bytes: int = 1 << 30
    max_blocks: int = 1_000_000
    rounds: int = 4
    line_bytes_per_second: int = 1_250_000_000


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom to ask. `allowed_hosts`: where plain https:// may lead; `resolve`: for tests."""

    sources: Sequence[Source]
    allowed_hosts: frozenset[str] = frozenset()
    standings: Standings = field(default_factory=Standings)
    resolve: Resolve | None = None


def _name_of(url: HttpsUrl | IpfsUrl) -> str:
    return str(url.cid.canonical if isinstance(url, HttpsUrl) else url.canonical)


class _Download:
    """One fetch, in one thread."""

    def __init__(
        self, url: str, reach: Reach, limits: FetchLimits, guard: Guard, progress: Progress | None
    ) -> None:
        self._url = parse_image_url(url, allowed_hosts=reach.allowed_hosts)
        self._reach = reach
        self._limits = limits
        self._guard = guard
        self._progress = progress or (lambda done, size: None)
        self._begun = guard.now()
        self._ipfs = IpfsFetch(self._sources(), reach.standings, guard, rounds=limits.rounds)

    @property
    def name(self) -> str:
        """The same for every URL of the same content."""
        return _name_of(self._url)

    @property
    def has_path(self) -> bool:
        """Does finding the file's CID need the network?"""
        return isinstance(self._url, IpfsUrl) and bool(self._url.path)

    def locate(self) -> Cid:
        """The CID of the file itself. Raises BadDag, Unavailable, OutOfTime."""
        self._guard.remaining()
        return self._url.cid if isinstance(self._url, HttpsUrl) else self._ipfs.resolve(self._url)

    def save(self, cid: Cid, reserve: Callable[[int], Path]) -> StoredImage:
        """The image at the place that `reserve(size)` gives; not yet in any store."""
        url = self._url
        if isinstance(url, HttpsUrl):
            measured, part = self._save_plain(url, reserve)
            sources: tuple[str, ...] = (f"https://{url.host}",)
        else:
            measured, part = self._save_ipfs(cid, reserve)
            sources = tuple(self._ipfs.used)
        return StoredImage(
            cid=str(cid),
            path=part,
            size_bytes=measured.size_bytes,
            sha256=measured.sha256,
            pcrs=measured.pcrs,
            architecture=measured.architecture,
            sources=sources,
            seconds=round(self._guard.now() - self._begun, 3),
            signer=measured.signer,
        )

    def _save_ipfs(self, cid: Cid, reserve: Callable[[int], Path]) -> tuple[Measured, Path]:
        first: list[Piece] = []
        intake = self._ipfs.start(cid, self._limits.max_blocks, first.append)
        size = intake.walk.size_bytes or 0
        self._admit(size)
        part = reserve(size)
        with closing(Pipeline(part, StreamingMeasurer(size_bytes=size))) as pipeline:
            intake.emit = self._counted(pipeline.put, size)
            for piece in first:
                intake.emit(piece)
            self._ipfs.resume(intake, part)
            self._ipfs.finish(intake)
            return pipeline.finish(), part

    def _save_plain(self, url: HttpsUrl, reserve: Callable[[int], Path]) -> tuple[Measured, Path]:
        with ExitStack() as stack:
            begun: list[tuple[Pipeline[Measured], Path]] = []

            def begin(size: int) -> Emit:
                self._admit(size)
                part = reserve(size)
                pipeline = Pipeline(part, StreamingMeasurer(size_bytes=size))
                begun.append((stack.enter_context(closing(pipeline)), part))
                return self._counted(pipeline.put, size)

            fetch = PlainFetch(url, self._guard, self._connect, rounds=self._limits.rounds)
            fetch.run(begin)
            pipeline, part = begun[0]
            return pipeline.finish(), part

    def _connect(self, guard: Guard) -> HttpSession:
        return HttpSession(guard, hosts=self._reach.allowed_hosts, resolve=self._reach.resolve)

    def _counted(self, put: Emit, size: int) -> Emit:
        done = 0

        def emit(piece: Piece) -> None:
            nonlocal done
            put(piece)
            done += piece.size if isinstance(piece, Span) else len(piece)
            self._progress(done, size)

        return emit

    def _admit(self, size: int) -> None:
        """Limits before bytes."""
        if size > self._limits.max_bytes:
            raise Refused(f"the image has {size} bytes; at most {self._limits.max_bytes} are taken")
        if size > self._guard.seconds_left * self._limits.line_bytes_per_second:
            raise OutOfTime(f"{size} bytes can't arrive in {self._guard.seconds_left:.0f} s")

    def _sources(self) -> list[Source]:
        """The operator's, and behind them the host that the URL names, if it is another."""
        sources = list(self._reach.sources)
        hint = self._url.hint if isinstance(self._url, IpfsUrl) else None
        if hint and f"https://{hint}" not in {source.name for source in sources}:
            sources.append(gateway_for(hint, self._reach.resolve))
        return sources


def fetch_file(
    url: str,
    target: Path,
    reach: Reach,
    limits: FetchLimits,
    *,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StoredImage:
    """The image at `target`, which is replaced only by a whole one. Blocks.

    Raises Refused (a hostile URL, a broken file, no enclave image), RetryLater (unavailable).
    """
    guard = Guard(clock, clock() + limits.max_seconds, limits.stall_seconds)
    download = _Download(url, reach, limits, guard, progress)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")

    def reserve(size: int) -> Path:
        allocate(part, size)
        return part

    try:
        image = download.save(download.locate(), reserve)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return replace(image, path=target)


class ImageFetcher:
    """Fetches into a store for many jobs at once; used from one event loop."""

    def __init__(
        self,
        store: ImageStore,
        reach: Reach,
        limits: FetchLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        store.sweep()
        self._store = store
        self._reach = reach
        self._limits = limits
        self._clock = clock
        self._threads = ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "image-fetch")
        self._turns = Turns(DOWNLOADS_AT_ONCE, clock)
        self._running: dict[str, _Shared] = {}
        # The store's locks are for one at a time; thousands of our own need not find them taken.
        self._claiming = asyncio.Lock()

    async def fetch(
        self,
        url: str,
        *,
        holder: str,
        seconds_left: float | None = None,
        progress: Progress | None = None,
    ) -> StoredImage:
        """The image, pinned for `holder` until `release`.

        Everyone who asks for the same content shares one download; `progress` is told of it by
        whoever asked first. Raises Refused (a hostile URL, a broken file, no enclave image,
        larger than allowed), RetryLater (unavailable, no room, out of time).
        """
        if (kept := await self._at_hand(url, holder)) is not None:
            return kept
        allowed = self._limits.max_seconds
        seconds = allowed if seconds_left is None else min(seconds_left, allowed)
        deadline = self._clock() + seconds
        while True:
            shared = self._share(url, deadline, progress)
            try:
                cid, image = await shared.wait(deadline - self._clock())
            except OutOfTime:
                if shared.deadline >= deadline:
                    raise
                continue  # the download began for someone with less time
            async with self._claiming:
                if await asyncio.to_thread(self._claim, holder, cid):
                    return image

    async def _at_hand(self, url: str, holder: str) -> StoredImage | None:
        """The image, pinned, when it is in the store; after a restart that is so for every job."""
        async with self._claiming:
            return await asyncio.to_thread(self._claim_kept, url, holder)

    def _claim_kept(self, url: str, holder: str) -> StoredImage | None:
        parsed = parse_image_url(url, allowed_hosts=self._reach.allowed_hosts)
        if isinstance(parsed, IpfsUrl) and parsed.path:
            cid = self._store.recall(_name_of(parsed))
        else:
            cid = parsed.cid
        try:
            there = cid is not None and self._store.get(cid) is not None
            return self._store.claim(holder, cid) if there and cid is not None else None
        except Busy:
            return None

    async def distrust(self, cid: str) -> None:
        """Remove the image unless its bytes are those that were measured. Raises RetryLater."""
        await asyncio.to_thread(self._store.distrust, parse_cid(cid))

    async def release(self, holder: str) -> None:
        """`holder` needs its image no more; it may be evicted when room is needed."""
        await asyncio.to_thread(self._store.release, holder)

    async def close(self) -> None:
        """Stop every download; the next one of the same image goes on from what is there."""
        for shared in self._running.values():
            shared.stop()
        await asyncio.to_thread(self._threads.shutdown)

    def _share(self, url: str, deadline: float, progress: Progress | None) -> _Shared:
        guard = Guard(self._clock, deadline, self._limits.stall_seconds)

        def download(guard: Guard) -> _Download:
            return _Download(url, self._reach, self._limits, guard, progress)

        name = download(guard).name
        shared = self._running.get(name)
        if shared is None or shared.guard.cancelled:
            place = Place(deadline)
            work = asyncio.create_task(self._in_turns(place, guard, download), name="image-fetch")
            shared = _Shared(work, guard, deadline, partial(self._turns.leave, place))
            self._running[name] = shared
            work.add_done_callback(lambda done: self._forget(name, done))
        return shared

    async def _in_turns(
        self, place: Place, guard: Guard, download: Callable[[Guard], _Download]
    ) -> _Kept:
        """The image, in as many turns as it takes: each goes on from what the last one left."""
        loop = asyncio.get_running_loop()
        while True:
            async with self._turns.turn(place, guard) as turn:
                try:
                    return await loop.run_in_executor(
                        self._threads, self._run, download(turn), turn
                    )
                except Cancelled:
                    if guard.cancelled:
                        raise

    def _forget(self, name: str, work: asyncio.Future[_Kept]) -> None:
        if not work.cancelled():
            work.exception()  # whoever waited has it; nobody may be left to ask
        if name in self._running and self._running[name].work is work:
            del self._running[name]

    def _claim(self, holder: str, cid: Cid) -> bool:
        try:
            return self._store.claim(holder, cid) is not None
        except Busy:  # evicted already, and another process is fetching it
            return False

    def _run(self, download: _Download, guard: Guard) -> _Kept:
        """In a thread: from the store, or fetched into it."""
        cid = self._locate(download)
        while True:
            try:
                with self._store.lock(cid):
                    return cid, self._store.get(cid) or self._save(download, cid)
            except Busy:
                guard.sleep(_LOOK_AGAIN_SECONDS)

    def _locate(self, download: _Download) -> Cid:
        """A path is resolved once: what it leads to never changes."""
        if not download.has_path:
            return download.locate()
        known = self._store.recall(download.name)
        if known is not None:
            return known
        cid = download.locate()
        self._store.remember(download.name, cid)
        return cid

    def _save(self, download: _Download, cid: Cid) -> StoredImage:
        def reserve(size: int) -> Path:
            return self._store.reserve(cid, size, self._limits.min_free_disk_bytes)

        return self._store.add(cid, download.save(cid, reserve))


@dataclass(slots=True, eq=False)
class _Shared:
    """One download that several wait for; when nobody does any more, it stops."""

    work: asyncio.Future[_Kept]
    guard: Guard
    deadline: float
    leave: Callable[[], None]
    waiting: int = 0

    def stop(self) -> None:
        """End it, wherever it is."""
        self.guard.cancel()
        self.leave()

    async def wait(self, seconds: float) -> _Kept:
        self.waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(self.work), max(0.0, seconds))
        except TimeoutError:
            raise OutOfTime("the time for fetching the image is over; try again") from None
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.stop()
