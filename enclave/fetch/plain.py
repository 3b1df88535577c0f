"""A file over plain https, held against its digest where it has one.

The digest covers the whole file, so nothing is proven before the last byte: until then the bytes
are on disk as `.part` and in the measurer, and nowhere else. A file by its URL alone is what it is
found to be: measured, and from then on known by its digest. Only a file that came in one answer is
ever said to be the wrong one: pieces of several may be of a file that was just replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from typing import Final

from enclave.cid import SHA2_384
from enclave.eif.format import ImageRefused
from enclave.fetch.plain_answer import Part, read_part
from enclave.web.guard import Guard
from enclave.web.http import HttpSession, Unreachable
from enclave.web.image_url import HttpsUrl, OpenUrl, told
from enclave.web.retry import rounds_of
from faults import Refused, TryElsewhere

# To the first byte; there is nobody else to ask, so a request that was lost must end some time.
PATIENCE_SECONDS: Final = 60.0

_CHANGED: Final = "the host's file changed while it was fetched"

Take = Callable[[bytes], None]


class WrongDigest(Refused):
    """The host's file is not the one that the URL's digest names."""


class PlainFetch:
    """One fetch; a broken connection resumes where it was, if the host can, else begins anew."""

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
        self._position = self._size = 0
        self._mark = ""
        self._answers = 0  # that what came so far is of
        self._emit: Take | None = None

    def run(self, begin: Callable[[int], Take]) -> None:
        """`begin` is told the size and says what takes the bytes, in order; it is called again
        where the file has to be read anew from its first byte.

        They are the file that the digest names only once this has returned. Raises WrongDigest,
        Unreachable, Stalled, OutOfTime.
        """

        def worth_it(fault: BaseException) -> bool:
            return isinstance(fault, TryElsewhere)

        while True:
            before = self._position
            try:
                return rounds_of(self._guard, self._rounds, worth_it)(self._attempt, begin)
            except TryElsewhere:
                if self._position <= before:
                    raise  # else it breaks off often and brings more each time, as proxies do

    def _attempt(self, begin: Callable[[int], Take]) -> None:
        try:
            self._read(begin)
        except TryElsewhere:
            if not self._is_proven:
                raise  # else nothing but the end of the answer is missing

    @property
    def _is_proven(self) -> bool:
        """Whether all that came is the file that a digest names."""
        came = self._emit is not None and self._position == self._size
        return came and self._wanted is not None and self._hash.digest() == self._wanted.digest

    def _read(self, begin: Callable[[int], Take]) -> None:
        session = self._connect(self._guard.fork(patience_seconds=PATIENCE_SECONDS))
        with closing(session), session.get(self._url.url, self._range()) as response:
            part = read_part(response)
            if part.start == 0:
                self._anew()
            elif part.start != self._position:
                raise Unreachable("the host sends another part of the file than was asked")
            elif not self._goes_on(part):
                self._anew()
                raise Unreachable(_CHANGED)
            if self._emit is None:
                self._size, self._mark, self._emit = part.size, part.mark, begin(part.size)
            self._answers += 1
            self._drain(part, session.guard, self._emit)
        if self._position != self._size:
            raise Unreachable(f"the file ended after {self._position} of {self._size} bytes")
        self._check_digest()

    def _goes_on(self, part: Part) -> bool:
        """Whether this is more of the file that was begun. Where no digest will tell in the end,
        only the host can, by the mark of the file's version."""
        same = part.mark == self._mark if self._wanted is None else True
        return same and part.size == self._size

    def _anew(self) -> None:
        """The file is read from its first byte on: what came so far may be of another."""
        self._position = self._answers = 0
        self._hash = hashlib.new(self._hash.name)
        self._emit = None

    def _drain(self, part: Part, guard: Guard, emit: Take) -> None:
        try:
            for data in part.pieces:
                guard.progress(len(data))
                self._take(data, emit)
        except ImageRefused:
            self._leave_a_mixture()
            raise

    def _take(self, data: bytes, emit: Take) -> None:
        if self._position + len(data) > self._size:
            size = self._size
            self._anew()
            raise Unreachable(f"the host sends more than the {size} bytes of the file")
        self._position += len(data)
        self._hash.update(data)
        emit(data)

    def _check_digest(self) -> None:
        if self._wanted is None or self._is_proven:
            return
        self._leave_a_mixture()
        raise WrongDigest(f"{told(self._url.url)} is not the file that {self._who_names_it()}")

    def _leave_a_mixture(self) -> None:
        """Pieces of several answers may be of several files, so they prove nothing of any; those
        of one do. Raises Unreachable."""
        if self._answers > 1:
            self._anew()
            raise Unreachable(_CHANGED)

    def _who_names_it(self) -> str:
        if isinstance(self._url, HttpsUrl) and self._url.pinned:
            pin = self._url.cid.digest.hex()
            return (
                f"it was when this job was taken (SHA-256 {pin}): what is there now is not run;"
                " its user can name another file by another URL"
            )
        return "the digest in the URL names"

    def _range(self) -> dict[str, str]:
        """What is left, where it can be told that it is of the same file; else all of it is asked
        for, as it is answered with when the host knows that the file is another (RFC 9110, 13.1.5).
        """
        if self._position in (0, self._size) or not (self._wanted or self._mark):
            return {}
        condition = (
            {"If-Range": self._mark} if self._mark and not self._mark.startswith("W/") else {}
        )
        return {"Range": f"bytes={self._position}-", **condition}
