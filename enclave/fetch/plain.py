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
from enclave.fetch.plain_answer import AskedToRest, NoRange, Part, is_date, read_part
from enclave.fetch.plain_left import Left
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
        self._mark = self._looks = ""
        self._answers = 0  # that what came so far is of
        self._ranges = True  # whether the host may be asked for what is left
        self._conditions = True  # whether only of the file whose mark was seen
        self._rest_until = 0.0  # by the guard's clock
        self._emit: Take | None = None

    def run(self, begin: Callable[[int], Take], left: Left | None = None) -> None:
        """`begin` is told the size and says what takes the bytes, in order; it is called again
        where the file has to be read anew from its first byte. `left`: of an earlier fetch, from
        which is gone on where a digest tells in the end.

        They are the file that the digest names only once this has returned. Raises WrongDigest,
        Unreachable, Stalled, OutOfTime.
        """

        def worth_it(fault: BaseException) -> bool:
            return isinstance(fault, TryElsewhere)

        if left is not None and self._wanted is not None:
            self._go_on_from(left, begin)
            if self._is_proven:
                return None
        while True:
            before, ranges = self._position, self._ranges
            try:
                return rounds_of(self._guard, self._rounds, worth_it)(self._attempt, begin)
            except TryElsewhere:
                if self._position > before:
                    continue  # it breaks off often and brings more each time, as proxies do
                self._forgo_ranges()
                if self._ranges == ranges:
                    raise

    def _go_on_from(self, left: Left, begin: Callable[[int], Take]) -> None:
        """It counts as an answer of its own: where the whole proves wrong, all is read anew."""
        self._size, self._emit, self._answers = left.size, begin(left.size), 1
        try:
            for data in left.pieces():
                self._guard.remaining()
                self._position += len(data)
                self._hash.update(data)
                self._emit(data)
        except (OSError, ImageRefused):
            self._anew()

    def _forgo_ranges(self) -> None:
        """Where a part was asked for in vain, the whole file is from now on: there are hosts, and
        firewalls before them, that answer that with all kinds of errors."""
        self._ranges = self._ranges and not self._range()

    def _attempt(self, begin: Callable[[int], Take]) -> None:
        part = bool(self._range())
        try:
            self._read(begin)
        except TryElsewhere as fault:
            if self._is_proven:
                return  # nothing but the end of the answer is missing
            if isinstance(fault, NoRange) and part:
                self._ranges = False
            if isinstance(fault, AskedToRest):
                self._rest_until = self._guard.now() + fault.rest_seconds
            raise

    @property
    def _is_proven(self) -> bool:
        """Whether all that came is the file that a digest names."""
        came = self._emit is not None and self._position == self._size
        return came and self._wanted is not None and self._hash.digest() == self._wanted.digest

    def _let_rest(self) -> None:
        """As long as the host asked for; but for half of what is left of the time at most, since
        to be asked once too often does it less harm than a job that is missed."""
        rest = min(self._rest_until - self._guard.now(), self._guard.seconds_left / 2)
        if rest > 0:
            self._guard.sleep(rest)

    def _read(self, begin: Callable[[int], Take]) -> None:
        self._let_rest()
        session, asked = (
            self._connect(self._guard.fork(patience_seconds=PATIENCE_SECONDS)),
            self._range(),
        )
        with closing(session), session.get(self._url.url, asked) as response:
            part = read_part(response)
            if part.start == 0:
                self._weigh_conditions(asked, part)
                self._anew()
            elif part.start != self._position:
                raise NoRange("the host sends another part of the file than was asked")
            elif not self._goes_on(part):
                self._anew()
                raise NoRange(_CHANGED)
            if self._emit is None:
                self._size, self._mark, self._looks = part.size, part.mark, part.looks
                self._emit = begin(part.size)
            self._answers += 1
            self._drain(part, session.guard, self._emit)
        if self._position != self._size:
            raise Unreachable(f"the file ended after {self._position} of {self._size} bytes")
        self._check_digest()

    def _weigh_conditions(self, asked: dict[str, str], part: Part) -> None:
        """Servers behind one name may each have a mark of their own for the same file (inodes in
        it, say): then none ever goes on with what another began. Where a digest tells in the end
        whether the pieces are of one file, they are asked for without the mark."""
        if "If-Range" in asked and self._wanted is not None and part.size == self._size:
            self._conditions = False

    def _goes_on(self, part: Part) -> bool:
        """Whether this is more of the file that was begun. Where no digest will tell in the end,
        only the host can, by the mark of the file's version."""
        same = part.mark == self._mark or self._wanted is not None
        # A part need not repeat the date that was its condition (RFC 9110, 15.3.7).
        unsaid = not part.mark and is_date(self._mark)
        return (same or unsaid) and part.size == self._size

    def _anew(self) -> None:
        """The file is read from its first byte on: what came so far may be of another."""
        self._position = self._answers = 0
        self._hash = hashlib.new(self._hash.name)
        self._emit = None

    def _drain(self, part: Part, guard: Guard, emit: Take) -> None:
        try:
            for data in part.pieces:
                guard.progress(len(data))
                self._take(data, part, emit)
        except ImageRefused:
            self._leave_a_mixture()
            raise

    def _take(self, data: bytes, part: Part, emit: Take) -> None:
        if self._position + len(data) > part.end:
            self._anew()
            what = f"{part.end - part.start} bytes of the {'part' if part.start else 'file'}"
            raise NoRange(f"the host sends more than the {what}")
        self._position += len(data)
        self._hash.update(data)
        emit(data)

    def _check_digest(self) -> None:
        if self._wanted is None or self._is_proven:
            return
        self._leave_a_mixture()
        text = f"{told(self._url.url)} is not the file that {self._who_names_it()}"
        raise WrongDigest(f"{text}; there is {self._looks}" if self._looks else text)

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
        nothing = self._position in (0, self._size) or not (self._wanted or self._mark)
        if nothing or not self._ranges:
            return {}
        fit = self._conditions and self._mark and not self._mark.startswith("W/")
        condition = {"If-Range": self._mark} if fit else {}
        return {"Range": f"bytes={self._position}-", **condition}
