"""The rest of a file from one source: as a CAR where it serves them, else block by block.

`Bulk` is one pass over the sources: what each of them turned out to serve, and who is out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from enclave.cid import Cid
from enclave.ipfs.answers import BadAnswer
from enclave.ipfs.assembly import Intake
from enclave.ipfs.car import Lie
from enclave.ipfs.gateway import Blocks, Session, Source, unbroken
from enclave.web.guard import Guard, Stalled
from faults import TryElsewhere

MAX_BREAKS: Final = 8  # broken CARs of one source that still brought something, before its blocks


@dataclass(eq=False)
class Opened:
    """A source that has begun to answer, with the first block of what it sends; `blocks` is the
    CAR that follows, None where single blocks are asked for."""

    session: Session
    first: tuple[Cid, bytes]
    blocks: Blocks | None

    def into(self, intake: Intake) -> None:
        """All that it brings. It has begun: from here on it may not be silent. Raises
        TryElsewhere, BadDag."""
        guard = self.session.guard
        guard.hurry()
        if self.blocks is not None:
            intake.by_car(self._all(self.blocks), guard)
            return
        cid, block = self.first
        guard.progress(len(block))
        intake.take(cid, block)
        intake.by_block(self.session)

    def close(self) -> None:
        if self.blocks is not None:
            self.blocks.close()
        self.session.close()

    def _all(self, rest: Blocks) -> Generator[tuple[Cid, bytes]]:
        yield self.first
        yield from rest


class Bulk:
    """One pass: who serves what, by what was seen of them in it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._blockwise: set[str] = set()
        self._out: set[str] = set()
        self._breaks: Counter[str] = Counter()

    def may(self, source: Source) -> bool:
        """Whether it is worth asking in this pass."""
        return source.name not in self._out

    def drop(self, source: Source) -> None:
        self._out.add(source.name)

    def open(self, source: Source, guard: Guard) -> Opened:
        """Begin with one source, in a thread of the race. Raises TryElsewhere."""
        with unbroken(source):
            session = source.open(guard)
            try:
                return self._begun(source, session)
            except BaseException:
                session.close()
                raise

    def note(
        self, source: Source, opened: Opened, fault: TryElsewhere | None, brought: int
    ) -> None:
        """What came of it: `brought` bytes of the file, and how it ended."""
        if isinstance(fault, Stalled) or opened.blocks is None:
            self.drop(source)
            return
        self._breaks[source.name] += 1
        if not brought or self._breaks[source.name] >= MAX_BREAKS:
            self._blockwise.add(source.name)

    def _begun(self, source: Source, session: Session) -> Opened:
        wanted, position = self._intake.walk.wanted, self._intake.walk.position
        if wanted is None:
            raise BadAnswer("nothing is wanted any more")
        if source.name not in self._blockwise:
            try:
                return _car(session, self._intake.root, position)
            except (Lie, Stalled):
                raise
            except TryElsewhere:
                self._blockwise.add(source.name)
        return Opened(session, (wanted, session.block(wanted)), None)


def _car(session: Session, root: Cid, start: int) -> Opened:
    blocks = session.car(root, start)
    first = next(blocks, None)
    if first is None:
        raise BadAnswer("a CAR without a block")
    return Opened(session, first, blocks)
