"""A file over plain https, held against its digest where it has one.

The digest covers the whole file, so nothing is proven before the last byte: until then the bytes
are on disk as `.part` and in the measurer, and nowhere else. A file by its URL alone is what it is
found to be: measured, and from then on known by its digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import httpcore

from enclave.cid import SHA2_384
from enclave.web.guard import Guard
from enclave.web.http import HttpSession, Unreachable, body, header
from enclave.web.image_url import HttpsUrl, OpenUrl, told
from enclave.web.retry import rounds_of
from faults import Refused, TryElsewhere

# No number that int() would refuse for its length.
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")
# To the first byte; there is nobody else to ask, so a request that was lost must end some time.
PATIENCE_SECONDS: Final = 60.0

Take = Callable[[bytes], None]


class WrongDigest(Refused):
    """The host's file is not the one that the URL's digest names."""


class PlainFetch:
    """One fetch; a broken connection resumes where it was, if the host can, else reads over it."""

    def __init__(
        self,
        url: HttpsUrl | OpenUrl,
        guard: Guard,
        connect: Callable[[Guard], HttpSession],
        *,
        rounds: int,
    ) -> None:
        self._url = url
        self._guard = guard
        self._connect = connect
        self._rounds = rounds
        self._wanted = url.cid if isinstance(url, HttpsUrl) else None
        wide = self._wanted is not None and self._wanted.hash_code == SHA2_384
        self._hash = hashlib.new("sha384" if wide else "sha256")
        self._position = 0
        self._size = 0
        self._emit: Take | None = None

    def run(self, begin: Callable[[int], Take]) -> None:
        """`begin` is told the size and says what takes the bytes, in order.

        They are the file that the digest names only once this has returned. Raises WrongDigest,
        Unreachable, Stalled, OutOfTime.
        """

        def worth_it(fault: BaseException) -> bool:
            return isinstance(fault, TryElsewhere)

        rounds_of(self._guard, self._rounds, worth_it)(self._attempt, begin)
        if self._wanted is not None and self._hash.digest() != self._wanted.digest:
            raise WrongDigest(f"{told(self._url.url)} is not the file that {self._who_names_it()}")

    def _who_names_it(self) -> str:
        if isinstance(self._url, HttpsUrl) and self._url.pinned:
            pin = self._url.cid.digest.hex()
            return (
                f"it was when this job was taken (SHA-256 {pin}): what is there now is not run;"
                " its user can name another file by another URL"
            )
        return "the digest in the URL names"

    def _attempt(self, begin: Callable[[int], Take]) -> None:
        session = self._connect(self._guard.fork(patience_seconds=PATIENCE_SECONDS))
        with closing(session), session.get(self._url.url, self._range()) as response:
            start, size = _extent(response)
            if start > self._position:
                raise Unreachable("the host sends another part of the file than was asked")
            if self._emit is None:
                self._size, self._emit = size, begin(size)
            if size != self._size:
                raise WrongDigest(f"{told(self._url.url)} changed its size while it was fetched")
            for data in _after(body(response), self._position - start):
                session.guard.progress(len(data))
                self._take(data, self._emit)
        if self._position != self._size:
            raise Unreachable(f"the file ended after {self._position} of {self._size} bytes")

    def _take(self, data: bytes, emit: Take) -> None:
        self._position += len(data)
        if self._position > self._size:
            raise Unreachable("the host sends more than it said")
        self._hash.update(data)
        emit(data)

    def _range(self) -> dict[str, str]:
        return {"Range": f"bytes={self._position}-"} if self._position else {}


def _after(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """The pieces without the first `skip` bytes."""
    for piece in pieces:
        if skip < len(piece):
            yield piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))


def _extent(response: httpcore.Response) -> tuple[int, int]:
    """Where the body starts in the file, and the file's size. Raises Unreachable."""
    if header(response, "content-encoding") not in ("", "identity"):
        raise Unreachable("the host compresses what must be exact")
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(header(response, "content-range"))
        if match:
            return int(match[1]), int(match[2])
    length = header(response, "content-length")
    if response.status != 200 or not length.isdecimal():
        raise Unreachable(f"the host answers with status {response.status}, length {length!r:.40}")
    return 0, int(length)
