"""From an enclaveUrl to a verified, measured image: the door to retrieval.

`ImageFetcher` serves an agent: async, one download however many ask, kept in a store.
`fetch_file` serves a person: one file at one place. Both refuse what is no enclave image.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from enclave.cid import Cid, parse_cid
from enclave.fetch.download import Asked, Download, FetchLimits, Progress, Reach, name_of
from enclave.fetch.slots import Place, Turns
from enclave.fetch.store import Busy, ImageStore, StoredImage, allocate
from enclave.web.guard import Cancelled, Guard, OutOfTime
from enclave.web.image_url import IpfsUrl, OpenUrl

# Each holds up to 60 MiB and keeps about one core busy; a trickling one holds little of both.
DOWNLOADS_AT_ONCE: Final = 8
_LOOK_AGAIN_SECONDS: Final = 0.5  # while another process fetches the same image

_Kept = tuple[Cid, StoredImage]


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
    download = Download(reach.parse(url), reach, limits, guard, progress)
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
        pin: str = "",
    ) -> StoredImage:
        """The image, pinned for `holder` until `release`. `pin`: the SHA-256 (hex) of the file that
        a URL without a digest was found to lead to at first; no other is taken.

        Everyone who asks for the same content shares one download; `progress` is told of it by
        whoever asked first. Raises Refused (a hostile URL, a broken file, no enclave image,
        larger than allowed), RetryLater (unavailable, no room, out of time).
        """
        asked = self._reach.parse(url, pin)
        if (kept := await self._at_hand(asked, holder)) is not None:
            return kept
        allowed = self._limits.max_seconds
        seconds = allowed if seconds_left is None else min(seconds_left, allowed)
        deadline = self._clock() + seconds
        while True:
            shared = self._share(asked, deadline, progress)
            try:
                cid, image = await shared.wait(deadline - self._clock())
            except OutOfTime:
                if shared.deadline >= deadline:
                    raise
                continue  # the download began for someone with less time
            async with self._claiming:
                if await asyncio.to_thread(self._claim, holder, cid):
                    return image

    def is_open(self, url: str) -> bool:
        """Whether nothing but the URL names the file. Raises BadUrl."""
        return isinstance(self._reach.parse(url), OpenUrl)

    async def _at_hand(self, url: Asked, holder: str) -> StoredImage | None:
        """The image, pinned, when it is in the store; after a restart that is so for every job."""
        async with self._claiming:
            return await asyncio.to_thread(self._claim_kept, url, holder)

    def _claim_kept(self, url: Asked, holder: str) -> StoredImage | None:
        if isinstance(url, OpenUrl):
            return None  # what it leads to now is not known
        below = isinstance(url, IpfsUrl) and url.path
        cid = self._store.recall(name_of(url)) if below else url.cid
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

    def _share(self, url: Asked, deadline: float, progress: Progress | None) -> _Shared:
        guard = Guard(self._clock, deadline, self._limits.stall_seconds)
        begun: list[Download] = []

        def download(guard: Guard) -> Download:
            begun[:] = [Download(url, self._reach, self._limits, guard, progress)]
            return begun[0]

        def so_far() -> str:
            return begun[0].so_far() if begun else "it had no turn beside others yet"

        name = name_of(url)
        shared = self._running.get(name)
        if shared is None or shared.guard.cancelled:
            place = Place(deadline)
            work = asyncio.create_task(self._in_turns(place, guard, download), name="image-fetch")
            shared = _Shared(work, guard, deadline, partial(self._turns.leave, place), so_far)
            self._running[name] = shared
            work.add_done_callback(lambda done: self._forget(name, done))
        return shared

    async def _in_turns(
        self, place: Place, guard: Guard, download: Callable[[Guard], Download]
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

    def _run(self, download: Download, guard: Guard) -> _Kept:
        """In a thread: from the store, or fetched into it."""
        cid = self._locate(download)
        while True:
            try:
                with self._store.lock(cid):
                    if download.is_open:
                        return self._found(download, cid, guard)
                    return cid, self._store.get(cid) or self._save(download, cid)
            except Busy:
                guard.sleep(_LOOK_AGAIN_SECONDS)

    def _found(self, download: Download, place: Cid, guard: Guard) -> _Kept:
        """What an open URL leads to now, under what it was found to be."""
        image = download.save(place, self._reserve(place))
        while True:
            try:
                kept = self._store.adopt(place, image)
                return parse_cid(kept.cid), kept
            except Busy:
                guard.sleep(_LOOK_AGAIN_SECONDS)

    def _locate(self, download: Download) -> Cid:
        """A path is resolved once: what it leads to never changes."""
        if not download.has_path:
            return download.locate()
        known = self._store.recall(download.name)
        if known is not None:
            return known
        cid = download.locate()
        self._store.remember(download.name, cid)
        return cid

    def _save(self, download: Download, cid: Cid) -> StoredImage:
        image = download.save(cid, self._reserve(cid), self._store.part(cid))
        return self._store.add(cid, image)

    def _reserve(self, cid: Cid) -> Callable[[int], Path]:
        def reserve(size: int) -> Path:
            return self._store.reserve(cid, size, self._limits.min_free_disk_bytes)

        return reserve


@dataclass(slots=True, eq=False)
class _Shared:
    """One download that several wait for; when nobody does any more, it stops."""

    work: asyncio.Future[_Kept]
    guard: Guard
    deadline: float
    leave: Callable[[], None]
    so_far: Callable[[], str]
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
            text = f"the time for fetching the image is over; try again; {self.so_far()}"
            raise OutOfTime(text) from None
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.stop()
