"""Images on disk by content: whole or not there, measured once, evicted least recently used first.

An image is `images/CID.eif` with its measurements beside it in `CID.json`, which is written last:
without it the image does not exist. A download is `CID.part` under an exclusive lock on
`locks/CID`, so that processes share one store. A pin is a file in `pins/` and outlives its process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from enclave.cid import Cid
from faults import Refused, RetryLater


class Busy(RetryLater):
    """Another process is fetching this image into the same store."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A verified, measured image. `pcrs` as in `enclave.measure.Measured`: lower-case hex.

    `seconds` is what fetching took, `sources` who gave verified bytes.
    """

    cid: str
    path: Path
    size_bytes: int
    sha256: str
    pcrs: Mapping[int, str]
    architecture: str
    sources: tuple[str, ...]
    seconds: float


class ImageStore:
    """A directory of images that several fetches, jobs and processes use at the same time."""

    def __init__(self, root: Path, *, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._images, self._locks, self._pins = root / "images", root / "locks", root / "pins"
        for folder in (self._images, self._locks, self._pins):
            folder.mkdir(parents=True, exist_ok=True)

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
        """Turn a finished `part`, flushed already, into the image; the caller holds its lock."""
        path = self.path(cid)
        kept = replace(image, cid=str(cid.canonical), path=path)
        record = {**asdict(kept), "path": path.name}
        self.part(cid).rename(path)
        _flush(self._images)
        _write_whole(path.with_suffix(".json"), json.dumps(record))
        return replace(kept, cid=image.cid)

    @contextmanager
    def lock(self, cid: Cid) -> Iterator[None]:
        """The right to download this image, exclusive between processes. Raises Busy, at once."""
        with (self._locks / str(cid.canonical)).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"another process is fetching {cid}; wait for it") from None
            try:
                yield
            finally:
                self.part(cid).unlink(missing_ok=True)

    def pin(self, holder: str, cid: Cid) -> None:
        """`holder` (a job, say) uses this image from now on: it is not evicted."""
        _write_whole(self._pins / quote(holder, safe=""), str(cid.canonical))

    def release(self, holder: str) -> None:
        """`holder` uses no image any more."""
        (self._pins / quote(holder, safe="")).unlink(missing_ok=True)

    def pins(self) -> dict[str, str]:
        """Who holds which image, by canonical CID; for finding holders that are gone."""
        found = {}
        for file in self._pins.glob("[!.]*"):
            try:
                found[unquote(file.name)] = file.read_text()
            except FileNotFoundError:
                continue
        return found

    def make_room(self, size_bytes: int, min_free_disk_bytes: int) -> None:
        """Evict until an image of this size fits both the quota and the disk.

        Raises Refused if it never fits, RetryLater if it does not while jobs use the others.
        """
        if size_bytes > self._quota_bytes:
            raise Refused(
                f"the image has {size_bytes} bytes, the whole store {self._quota_bytes}"
                "; raise the quota to serve it"
            )
        held = set(self.pins().values())
        images = self.images()
        used = sum(image.size_bytes for image in images)
        for image in images:
            if self._fits(used + size_bytes, size_bytes, min_free_disk_bytes):
                return
            if image.cid not in held:
                self._evict(image)
                used -= image.size_bytes
        if not self._fits(used + size_bytes, size_bytes, min_free_disk_bytes):
            raise RetryLater(
                f"no room for {size_bytes} bytes: jobs use the other images, or the disk is full"
            )

    def sweep(self) -> None:
        """Delete what a crash left: parts nobody writes, images without measurements."""
        for left in (*self._images.glob("*.part"), *self._images.glob("*.eif")):
            if left.suffix == ".part" or not left.with_suffix(".json").exists():
                self._sweep_one(left)

    def _sweep_one(self, left: Path) -> None:
        with (self._locks / left.stem).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if left.suffix == ".part" or not left.with_suffix(".json").exists():
                left.unlink(missing_ok=True)

    def _fits(self, total: int, size_bytes: int, min_free_disk_bytes: int) -> bool:
        free = shutil.disk_usage(self._images).free
        return total <= self._quota_bytes and free - size_bytes >= min_free_disk_bytes

    def _evict(self, image: StoredImage) -> None:
        image.path.with_suffix(".json").unlink(missing_ok=True)
        _flush(self._images)
        image.path.unlink(missing_ok=True)

    def _read(self, sidecar: Path) -> StoredImage | None:
        """None for what is missing, damaged, or of another size than it says."""
        try:
            record = json.loads(sidecar.read_text())
            path = sidecar.with_suffix(".eif")
            if path.stat().st_size != record["size_bytes"]:
                return None
            pcrs = {int(number): str(value) for number, value in record.pop("pcrs").items()}
            sources = tuple(record.pop("sources"))
            return StoredImage(**{**record, "path": path, "pcrs": pcrs, "sources": sources})
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None


def _used_at(sidecar: Path) -> int:
    try:
        return sidecar.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _write_whole(path: Path, text: str) -> None:
    """Replace a small file so that a crash leaves the old or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
