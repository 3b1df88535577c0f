"""One fetch, in one thread: from what a URL asks for to a measured image on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from enclave.cid import RAW, SHA2_256, Cid
from enclave.eif.measure import Measured, StreamingMeasurer
from enclave.fetch.pipeline import Pipeline
from enclave.fetch.plain import PlainFetch
from enclave.fetch.plain_left import left_at
from enclave.fetch.store import StoredImage
from enclave.ipfs.assembly import Emit
from enclave.ipfs.gateway import Source, gateway_for
from enclave.ipfs.retrieval import IpfsFetch
from enclave.ipfs.source_standing import Standings
from enclave.ipfs.unixfs import Piece, Span
from enclave.web.guard import Guard, OutOfTime
from enclave.web.http import HttpSession, Resolve
from enclave.web.image_url import HttpsUrl, IpfsUrl, OpenUrl, parse_image_url, parse_open_url
from faults import Refused

# Bytes done, bytes in all. Called in the thread that fetches.
Progress = Callable[[int, int], None]
Asked = HttpsUrl | IpfsUrl | OpenUrl


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
    """Whom to ask. `allowed_hosts`: where plain https:// may lead; `open_urls`: to any public
    host, without a digest too. `resolve` and `connect` are for tests."""

    sources: Sequence[Source]
    allowed_hosts: frozenset[str] = frozenset()
    open_urls: bool = False
    standings: Standings = field(default_factory=Standings)
    resolve: Resolve | None = None
    connect: Callable[[Guard], HttpSession] | None = None

    def parse(self, url: str, pin: str = "") -> Asked:
        """What a URL asks for; one without a digest, by the pin if there is one. Raises BadUrl."""
        if not self.open_urls:
            return parse_image_url(url, allowed_hosts=self.allowed_hosts)
        found = parse_open_url(url)
        return found.pinned(pin) if pin and isinstance(found, OpenUrl) else found


def name_of(url: Asked) -> str:
    if isinstance(url, OpenUrl):
        return url.url
    return str(url.cid.canonical if isinstance(url, HttpsUrl) else url.canonical)


class Download:
    """One fetch, in one thread."""

    def __init__(
        self,
        url: Asked,
        reach: Reach,
        limits: FetchLimits,
        guard: Guard,
        progress: Progress | None,
    ) -> None:
        self._url = url
        self._reach = reach
        self._limits = limits
        self._guard = guard
        self._progress = progress or (lambda done, size: None)
        self._begun = guard.now()
        self._done = self._size = 0
        self._ipfs = IpfsFetch(self._sources(), reach.standings, guard, rounds=limits.rounds)

    @property
    def name(self) -> str:
        """The same for every URL of the same content."""
        return name_of(self._url)

    @property
    def has_path(self) -> bool:
        """Does finding the file's CID need the network?"""
        return isinstance(self._url, IpfsUrl) and bool(self._url.path)

    @property
    def is_open(self) -> bool:
        """Is only known what the file is when it is here?"""
        return isinstance(self._url, OpenUrl)

    def so_far(self) -> str:
        """What had come and from whom, for whoever's time is over. From any thread."""
        came = f"{self._done} of {self._size} bytes had come" if self._size else "nothing had come"
        if isinstance(self._url, IpfsUrl):
            return f"{came} ({self._ipfs.heard() or 'no source is left'})"
        return f"{came} from {self._url.host}"

    @contextmanager
    def _told_late(self) -> Iterator[None]:
        try:
            yield
        except OutOfTime as late:
            if self._guard.seconds_left > 0:  # it was not begun, since it could not be in time
                raise
            raise OutOfTime(f"{late}; {self.so_far()}") from None

    def locate(self) -> Cid:
        """The CID of the file itself; of an open URL, a place of its own for what comes from it.
        Raises BadDag, Unavailable, OutOfTime."""
        with self._told_late():
            return self._located()

    def _located(self) -> Cid:
        self._guard.remaining()
        if isinstance(self._url, OpenUrl):
            return Cid(RAW, SHA2_256, hashlib.sha256(b"open " + self._url.url.encode()).digest())
        return self._url.cid if isinstance(self._url, HttpsUrl) else self._ipfs.resolve(self._url)

    def save(
        self, cid: Cid, reserve: Callable[[int], Path], before: Path | None = None
    ) -> StoredImage:
        """The image at the place that `reserve(size)` gives; not yet in any store. `before`: where
        an earlier fetch of it may have left a part, which `reserve` then gives as it is."""
        url = self._url
        with self._told_late():
            if not isinstance(url, IpfsUrl):
                measured, part = self._save_plain(url, reserve, before)
                sources: tuple[str, ...] = (f"https://{url.host}",)
            else:
                measured, part = self._save_ipfs(cid, reserve)
                sources = tuple(self._ipfs.used)
        if isinstance(url, OpenUrl):
            cid = Cid(RAW, SHA2_256, bytes.fromhex(measured.sha256))
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

    def _save_plain(
        self, url: HttpsUrl | OpenUrl, reserve: Callable[[int], Path], before: Path | None
    ) -> tuple[Measured, Path]:
        with ExitStack() as stack:
            begun: list[tuple[Pipeline[Measured], Path]] = []

            def begin(size: int) -> Emit:
                self._admit(size)
                if begun:  # the file is read anew
                    begun.pop()[0].close()
                part = reserve(size)
                pipeline = Pipeline(part, StreamingMeasurer(size_bytes=size))
                begun.append((stack.enter_context(closing(pipeline)), part))
                return self._counted(pipeline.put, size)

            fetch = PlainFetch(url, self._guard, self._connect, rounds=self._limits.rounds)
            fetch.run(begin, left_at(before) if before else None)
            pipeline, part = begun[0]
            return pipeline.finish(), part

    def _connect(self, guard: Guard) -> HttpSession:
        reach = self._reach
        if reach.connect is not None:
            return reach.connect(guard)
        hosts = None if reach.open_urls else reach.allowed_hosts
        return HttpSession(guard, hosts=hosts, resolve=reach.resolve)

    def _counted(self, put: Emit, size: int) -> Emit:
        self._done, self._size = 0, size

        def emit(piece: Piece) -> None:
            put(piece)
            self._done += piece.size if isinstance(piece, Span) else len(piece)
            self._progress(self._done, size)

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
