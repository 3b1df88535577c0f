"""The hosts' last words on this disk, so that a restarted agent need not read them all again.

A cache of bytes, and of nothing else: what is taken from it has the MD5 that S3's list gives as
the object's ETag now, so it is what a read would answer. When it was written, and thus whether
its host lives, is never kept here; only the list says that. Anything that is damaged, too large
or of a host that is not listed any more is dropped; a disk that is full or a file that does not
open costs reads and nothing else.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from cloud.model import InstanceId, Region

log = structlog.get_logger(__name__)
T = TypeVar("T")

# A real status has 1 KiB. What is longer is read again; so the file's size is bounded by the
# number of hosts that S3 lists.
TEXT_LIMIT = 4 * 1024
BUSY_SECONDS = 1.0
MOST_SECONDS = 1e11  # what counts as a time, as in the mailbox
_TABLE = (
    "create table if not exists words"
    " (instance text primary key, etag text, ahead real, text blob) without rowid"
)
_PUT = "insert or replace into words values (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Words:
    """One status.json as it was read; `ahead` as in `HostReport`."""

    etag: str
    ahead: float | None
    text: bytes


class KeptWords:
    """One small SQLite file a region in `directory`; blocking, for a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trouble = ""  # said already

    def load(self, region: Region, etags: Mapping[InstanceId, str]) -> dict[InstanceId, Words]:
        """What is kept of these hosts and still is what S3 lists (ETag by host); forgets others."""

        def take(base: sqlite3.Connection) -> dict[InstanceId, Words]:
            rows = list(base.execute("select instance, etag, ahead, text from words"))
            found = {
                InstanceId(instance): Words(etag, ahead, text)
                for instance, etag, ahead, text in rows
                if etags.get(instance) == etag and _whole(etag, ahead, text)
            }
            _drop(base, [row[0] for row in rows if row[0] not in found])
            return found

        return self._with(region, take) or {}

    def keep(
        self, region: Region, read: Mapping[InstanceId, Words], gone: Collection[InstanceId]
    ) -> None:
        """Take in what was read; forget these hosts."""
        small = {i: words for i, words in read.items() if len(words.text) <= TEXT_LIMIT}
        dropped = [*gone, *(read.keys() - small.keys())]
        if not small and not dropped:
            return

        def put(base: sqlite3.Connection) -> None:
            _drop(base, dropped)
            base.executemany(_PUT, ((i, w.etag, w.ahead, w.text) for i, w in small.items()))

        self._with(region, put)

    def _with(self, region: Region, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """`work` on the region's file, committed; None for one that is damaged, which is begun
        anew the next time.

        Nothing is flushed: what a crash leaves damaged does not have the MD5 that S3 lists.
        """
        path = self._directory / f"{region}.sqlite"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as base:
                base.execute("pragma synchronous = off")
                base.execute(_TABLE)
                with base:
                    return work(base)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            # sqlite3 decodes SQLite's message, which may quote a schema that is no text any more.
            self._failed(path, error)
            return None

    def _failed(self, path: Path, error: Exception) -> None:
        if str(error) != self._trouble:
            log.warning("mailbox.not_kept", file=str(path), error=str(error))
        self._trouble = str(error)
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _drop(base: sqlite3.Connection, instances: Iterable[str]) -> None:
    base.executemany("delete from words where instance = ?", ((one,) for one in instances))


def _whole(etag: object, ahead: object, text: object) -> bool:
    """Whether a row has the types it was written with and the bytes that its ETag names."""
    if not isinstance(text, bytes) or not isinstance(ahead, float | None):
        return False
    if ahead is not None and not abs(ahead) < MOST_SECONDS:
        return False
    return etag == f'"{hashlib.md5(text, usedforsecurity=False).hexdigest()}"'
