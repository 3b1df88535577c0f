"""Fetch a file by CID from several sources that are believed in nothing.

The first block is asked of all sources, in the order of how they have behaved, a moment apart;
who answers first serves the rest as a CAR. One that lies is dropped; when one breaks or stalls the
next goes on from the last verified byte; what no CAR brings is asked block by block. Rounds are
repeated (tenacity) until the deadline. Works in the calling thread, which blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tenacity import Retrying

from enclave.cid import Cid
from enclave.ipfs.assembly import Emit, Intake
from enclave.ipfs.car import Lie
from enclave.ipfs.gateway import Source
from enclave.ipfs.resume import go_on_from
from enclave.ipfs.unixfs import PathWalk
from enclave.web.http import Guard, Stalled
from enclave.web.retry import rounds_of
from enclave.web.urls import IpfsUrl
from faults import RetryLater, TryElsewhere

HEAD_START_SECONDS: Final = 0.3  # what a better source gets before the next is asked as well
MAX_BREAKS: Final = 8  # broken CARs of one source that still brought something, before the next


class Unavailable(RetryLater):
    """No source had it, in all rounds; the message says what each did."""


@dataclass(slots=True)
class Standing:
    """How a source has behaved: the less of each the better, in this order."""

    lies: int = 0
    failures: int = 0


@dataclass(slots=True)
class Standings:
    """The record of all sources, kept between fetches by whoever holds it."""

    by_name: dict[str, Standing] = field(default_factory=dict)

    def of(self, source: Source) -> Standing:
        return self.by_name.setdefault(source.name, Standing())

    def order(self, sources: Sequence[Source]) -> list[Source]:
        """Best first; equals stay in the order given."""
        return sorted(sources, key=lambda one: (self.of(one).lies, self.of(one).failures))


class IpfsFetch:
    """One fetch, for one thread; `used` names the sources that gave verified blocks."""

    def __init__(
        self, sources: Sequence[Source], standings: Standings, guard: Guard, *, rounds: int
    ) -> None:
        self._sources = standings.order(sources)
        self._standings = standings
        self._guard = guard
        self._rounds = rounds
        self._notes: dict[str, str] = {}
        self.used: dict[str, None] = {}

    def resolve(self, url: IpfsUrl) -> Cid:
        """The CID of what the URL's path leads to. Raises BadDag, Unavailable, OutOfTime."""
        walk = PathWalk(url.cid, url.path)
        while (cid := walk.wanted) is not None:
            walk.accept(self._block(cid))
        return walk.target

    def start(self, root: Cid, max_blocks: int, emit: Emit) -> Intake:
        """The file with its first block read, so that its size is known. Raises as `resolve`."""
        intake = Intake(root, max_blocks, emit)
        intake.take(root, self._block(root))
        return intake

    def resume(self, intake: Intake, part: Path) -> None:
        """Take what an earlier download left at `part`. Raises as `resolve`."""
        go_on_from(part, intake, self._block)

    def finish(self, intake: Intake) -> None:
        """Bring what is left of the file. Raises BadDag, Unavailable, OutOfTime."""

        def one_round() -> None:
            before = -1
            while not intake.whole and intake.walk.position > before:
                before = intake.walk.position
                self._ask_all(intake)
            if not intake.whole:
                raise self._unavailable(f"{intake.root} from byte {intake.walk.position} on")

        self._repeat()(one_round)

    def _ask_all(self, intake: Intake) -> None:
        for source in list(self._sources):
            if not intake.whole:
                with self._judged(source):
                    self._drain(source, intake)

    def _drain(self, source: Source, intake: Intake) -> None:
        """All that one source gives: by CARs while they bring anything, then block by block."""
        for _ in range(MAX_BREAKS):
            before = intake.walk.position
            try:
                self._by_car(source, intake)
            except Lie:
                raise
            except TryElsewhere as fault:
                if isinstance(fault, Stalled) and (before == 0 or intake.walk.position > before):
                    raise
                self._note(source, fault)
            if intake.whole:
                return
            if intake.walk.position == before:
                break
        with closing(source.open(self._guard.fork())) as session:
            intake.by_block(session)
        self.used[source.name] = None

    def _by_car(self, source: Source, intake: Intake) -> None:
        before = intake.walk.position
        try:
            with closing(source.open(self._guard.fork())) as session:
                intake.by_car(session)
        finally:
            if intake.walk.position > before:
                self.used[source.name] = None

    def _block(self, cid: Cid) -> bytes:
        """One block, from whoever has it first; they lead from then on."""
        if cid.inline is not None:
            return cid.inline

        def one_round() -> bytes:
            return self._race(cid)

        return self._repeat()(one_round)

    def _race(self, cid: Cid) -> bytes:
        race = self._guard.fork()
        waiting: dict[Future[bytes], Source] = {}
        pending = deque(self._sources)
        pool = ThreadPoolExecutor(max(1, len(pending)), "image-race")
        try:
            while pending or waiting:
                if pending:
                    source = pending.popleft()
                    waiting[pool.submit(_ask, source, race.fork(), cid)] = source
                head_start = HEAD_START_SECONDS if pending else None
                for future in wait(waiting, head_start, FIRST_COMPLETED).done:
                    source = waiting.pop(future)
                    with self._judged(source):
                        block = future.result()
                        self._lead(source)
                        return block
        finally:
            race.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
        raise self._unavailable(str(cid))

    def _lead(self, winner: Source) -> None:
        self.used[winner.name] = None
        self._sources = [winner, *(other for other in self._sources if other is not winner)]

    @contextmanager
    def _judged(self, source: Source) -> Iterator[None]:
        """Remember how the source behaved; its faults end here, proven ones of the file do not."""
        standing = self._standings.of(source)
        try:
            yield
        except Lie as fault:
            standing.lies += 1
            self._sources.remove(source)
            self._note(source, fault)
        except TryElsewhere as fault:
            standing.failures += 1
            self._note(source, fault)
        else:
            standing.failures //= 2

    def _note(self, source: Source, fault: TryElsewhere) -> None:
        self._notes[source.name] = str(fault)

    def _unavailable(self, what: str) -> Unavailable:
        said = "; ".join(f"{name}: {note}" for name, note in self._notes.items())
        return Unavailable(
            f"no source has {what} ({said or 'no source is left'}); try again, or add a gateway"
        )

    def _repeat(self) -> Retrying:
        def worth_it(fault: BaseException) -> bool:
            return isinstance(fault, Unavailable) and bool(self._sources)

        return rounds_of(self._guard, self._rounds, worth_it)


def _ask(source: Source, guard: Guard, cid: Cid) -> bytes:
    with closing(source.open(guard)) as session:
        return session.block(cid)
