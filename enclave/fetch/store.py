"""Images on disk by content: whole or not there, measured once, evicted least recently used first.

An image is `images/CID.eif` with its measurements beside it in `CID.json`, which is written last:
without it the image does not exist. A download is `CID.part` under an exclusive lock on
`locks/CID`, so that processes share one store; one that was cut off stays, for the next to go on
from, until room is needed. A pin is a file in `pins/` and outlives its process. Whatever the disk
refuses (no room, no inodes, read-only, no locks) is RetryLater: the next try may find it mended.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from enclave.cid import BadCid, Cid, parse_cid
from enclave.eif.signature import Signer
from enclave.fetch.disk import disk_fault, of_the_disk
from enclave.fetch.small_files import flush, locked, write_whole
from faults import Refused, RetryLater


class Busy(RetryLater):
    """Another process is fetching this image into the same store."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A verified, measured image. `pcrs` as in `enclave.eif.measure.Measured`: lower-case hex.

    `seconds` is what fetching took, `sources` who gave verified bytes. The signature of a `signer`
    was checked; whether the certificate is in date is a question of when the image is to run.
    """

    cid: str
    path: Path
    size_bytes: int
    sha256: str
    pcrs: Mapping[int, str]
    architecture: str
    sources: tuple[str, ...]
    seconds: float
    signer: Signer | None


class ImageStore:
    """A directory of images that several fetches, jobs and processes use at the same time."""

    def __init__(self, root: Path, *, quota_bytes: int) -> None:
        """Raises RetryLater."""
        self._quota_bytes = quota_bytes
        self._unwritten: dict[str, str] = {}  # pins that the disk did not take; they are held here
        self._images, self._locks, self._pins = root / "images", root / "locks", root / "pins"
        self._names = root / "names"
        self._make_folders()

    def _make_folders(self) -> None:
        """Those that are not there: somebody may have cleared them away meanwhile."""
        try:
            for folder in (self._images, self._locks, self._pins, self._names):
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            text = f"no store of images can be made at {self._images.parent}"
            raise RetryLater(f"{text}: {disk_fault(fault)}") from None

    def path(self, cid: Cid) -> Path:
        """Where the image is, or would be."""
        return self._images / f"{cid.canonical}.eif"

    def part(self, cid: Cid) -> Path:
        """Where a download under `lock` is written."""
        return self._images / f"{cid.canonical}.part"

    def get(self, cid: Cid) -> StoredImage | None:
        """The image, marked as used just now, or None when it is not there whole."""
        sidecar = self.path(cid).with_suffix(".json")
        image = self._read(sidecar)
        if image is None:
            return None
        with of_the_disk():
            try:
                os.utime(sidecar)
            except FileNotFoundError:  # evicted by another process since
                return None
        return replace(image, cid=str(cid))

    def images(self) -> list[StoredImage]:
        """Every whole image, least recently used first."""
        dated = sorted((_used_at(sidecar), sidecar) for sidecar in self._images.glob("*.json"))
        return [image for _, sidecar in dated if (image := self._read(sidecar)) is not None]

    def add(self, cid: Cid, image: StoredImage) -> StoredImage:
        """Turn a finished `part`, flushed already, into the image; the caller holds its lock. Where
        the disk does not take it the part stays. Raises RetryLater."""
        path = self.path(cid)
        kept = replace(image, cid=str(cid.canonical), path=path)
        record = {**asdict(kept), "path": path.name}
        with of_the_disk():
            self.part(cid).rename(path)
            try:
                flush(self._images)
                write_whole(path.with_suffix(".json"), json.dumps(record))
            except OSError:
                path.rename(self.part(cid))
                raise
        return replace(kept, cid=image.cid)

    def adopt(self, place: Cid, image: StoredImage) -> StoredImage:
        """Turn the finished `part` at `place`, whose lock the caller holds, into the image that it
        was found to be, `image.cid`; what is there already stays. Raises Busy."""
        cid = parse_cid(image.cid)
        with self._exclusive(str(cid.canonical)):
            known = self.get(cid)
            if known is not None:
                self.part(place).unlink(missing_ok=True)
                return known
            self.part(place).rename(self.part(cid))
            return self.add(cid, image)

    @contextmanager
    def lock(self, cid: Cid) -> Iterator[None]:
        """The right to download this image, exclusive between processes. Raises Busy, at once.

        The `part` of a download that may succeed another time (RetryLater) is kept.
        """
        with self._exclusive(str(cid.canonical)):
            try:
                yield
            except RetryLater:
                raise
            except BaseException:
                self.part(cid).unlink(missing_ok=True)
                raise

    def claim(self, holder: str, cid: Cid) -> StoredImage | None:
        """Pin, and the image if it is there: from then on it stays. Raises Busy."""
        with self._exclusive(str(cid.canonical)):
            self.pin(holder, cid)
            return self.get(cid)

    def reserve(self, cid: Cid, size_bytes: int, min_free_disk_bytes: int) -> Path:
        """A `part` of this size, its disk space taken; the caller holds the lock.

        What an earlier download left is in it. Evicts what no job uses. Raises Refused, RetryLater
        when there is no room.
        """
        part = self.part(cid)
        self._make_folders()
        with of_the_disk():
            if size_bytes and _size(part) == size_bytes:
                return part
            with locked(self._locks / ".room", fcntl.LOCK_EX):  # held for moments only
                self._make_room(size_bytes, min_free_disk_bytes)
                allocate(part, size_bytes)
        return part

    def recall(self, name: str) -> Cid | None:
        """The CID that a path was found to lead to; content never changes, so it still does."""
        try:
            return parse_cid(self._name(name).read_text())
        except (OSError, UnicodeDecodeError, BadCid):  # never known, or damaged
            return None

    def remember(self, name: str, cid: Cid) -> None:
        """Where the disk does not take it, it is found out again."""
        with suppress(OSError):
            write_whole(self._name(name), str(cid))

    def _name(self, name: str) -> Path:
        return self._names / hashlib.sha256(name.encode()).hexdigest()

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        self._make_folders()
        try:
            held = locked(self._locks / name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is fetching {name}; wait for it") from None
        with held:
            yield

    def pin(self, holder: str, cid: Cid) -> None:
        """`holder` (a job, say) uses this image from now on: it is not evicted.

        A pin that says so already is left as it is: after a restart all do. One that a full disk
        does not take is held by this process alone until there is room: the image is there, and its
        job must not wait.
        """
        file, held = self._pin_of(holder), str(cid.canonical)
        self._unwritten.pop(holder, None)
        with suppress(OSError, UnicodeDecodeError):
            if file.read_text() == held:
                return
        self._unwritten[holder] = held
        self._write_pins()

    def _pin_of(self, holder: str) -> Path:
        return self._pins / quote(holder, safe="")

    def _write_pins(self) -> None:
        """Those that the disk did not take before, as far as it does now."""
        for holder, held in list(self._unwritten.items()):
            try:
                write_whole(self._pin_of(holder), held)
            except OSError:
                return
            if self._unwritten.get(holder) == held:
                del self._unwritten[holder]

    def release(self, holder: str) -> None:
        """`holder` uses no image any more. Raises RetryLater."""
        self._unwritten.pop(holder, None)
        with of_the_disk():
            self._pin_of(holder).unlink(missing_ok=True)
        self._write_pins()

    def distrust(self, cid: Cid) -> None:
        """Remove an image whose bytes are not those that were measured: a disk altered them. Who
        holds it keeps his pin, for the one that is fetched anew. Raises Busy."""
        with self._exclusive(str(cid.canonical)):
            image = self.get(cid)
            if image is None or _sha256(image.path) != image.sha256:
                self._remove(self.path(cid))

    def pins(self) -> dict[str, str]:
        """Who holds which image, by canonical CID; for finding holders that are gone."""
        found = dict(self._unwritten)
        for file in self._pins.glob("[!.]*"):
            with suppress(FileNotFoundError, UnicodeDecodeError):  # ended meanwhile; damaged
                found.setdefault(unquote(file.name), file.read_text())
        return found

    def sweep(self) -> None:
        """Delete what a crash left that is of no use: images without measurements."""
        for left in self._images.glob("*.eif"):
            if _unmeasured(left):
                with suppress(RetryLater), self._exclusive(left.stem), of_the_disk():
                    if _unmeasured(left):
                        left.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int, min_free_disk_bytes: int) -> None:
        if size_bytes > self._quota_bytes:
            raise Refused(
                f"the image has {size_bytes} bytes, the whole store {self._quota_bytes}"
                "; raise the quota to serve it"
            )
        parts = [partial(self._drop, part) for part in self._images.glob("*.part")]
        for evict in (*parts, *(partial(self._evict, image) for image in self.images())):
            if self._fits(size_bytes, min_free_disk_bytes):
                return
            evict()
        if why := self._no_room(size_bytes, min_free_disk_bytes):
            raise RetryLater(f"no room for {size_bytes} bytes: {why}")

    def _fits(self, size_bytes: int, min_free_disk_bytes: int) -> bool:
        return not self._no_room(size_bytes, min_free_disk_bytes)

    def _no_room(self, size_bytes: int, min_free_disk_bytes: int) -> str:
        """Which bound is in the way, with what it is and how to move it; empty: none is."""
        held = (*self._images.glob("*.eif"), *self._images.glob("*.part"))
        used = sum(_size(file) for file in held)
        if used + size_bytes > self._quota_bytes:
            return (
                f"jobs use the other images, {used} bytes of the {self._quota_bytes} that the store"
                " may have; raise its quota, or wait until one of them ends"
            )
        free = shutil.disk_usage(self._images).free
        if free - size_bytes < min_free_disk_bytes:
            return (
                f"the disk is full: at {self._images} {free} bytes are left, of which"
                f" {min_free_disk_bytes} stay free; make room there, or have the store elsewhere"
            )
        return ""

    def _drop(self, part: Path) -> None:
        """Unless somebody is writing it."""
        with suppress(Busy), self._exclusive(part.stem), of_the_disk():
            part.unlink(missing_ok=True)

    def _evict(self, image: StoredImage) -> None:
        """Unless somebody uses it or is just claiming it."""
        with suppress(Busy), self._exclusive(image.cid):
            if image.cid not in self.pins().values():
                self._remove(image.path)

    def _remove(self, image: Path) -> None:
        """The measurements first: without them there is no image. Raises RetryLater."""
        with of_the_disk():
            image.with_suffix(".json").unlink(missing_ok=True)
            flush(self._images)
            image.unlink(missing_ok=True)

    def _read(self, sidecar: Path) -> StoredImage | None:
        """None for what is missing, damaged, or of another size than it says."""
        try:
            record = json.loads(sidecar.read_text())
            path = sidecar.with_suffix(".eif")
            if path.stat().st_size != record["size_bytes"]:
                return None
            pcrs = {int(number): str(value) for number, value in record.pop("pcrs").items()}
            sources = tuple(record.pop("sources"))
            signer = record.pop("signer")
            return StoredImage(
                **record
                | {
                    "path": path,
                    "pcrs": pcrs,
                    "sources": sources,
                    "signer": None if signer is None else Signer(**signer),
                }
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def allocate(part: Path, size_bytes: int) -> None:
    """A file with its disk space taken, so that a full disk is met before the first byte.

    Raises RetryLater.
    """
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            if size_bytes:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
    except OSError as fault:
        with suppress(OSError):  # there may be nothing that could be deleted
            part.unlink(missing_ok=True)
        raise RetryLater(
            f"no disk space for an image of {size_bytes} bytes: {disk_fault(fault)}"
        ) from None


def _sha256(image: Path) -> str:
    """Empty for a file that can't be read."""
    try:
        with image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _unmeasured(image: Path) -> bool:
    return not image.with_suffix(".json").exists()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _used_at(sidecar: Path) -> int:
    try:
        return sidecar.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
