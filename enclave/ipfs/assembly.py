"""Blocks from any source, in any order within bounds, to a file's bytes in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from enclave.cid import Cid
from enclave.ipfs.car import BadCar
from enclave.ipfs.gateway import Blocks, Session
from enclave.ipfs.unixfs import FileWalk, Piece
from enclave.web.guard import Guard

EARLY_BYTES: Final = 16 << 20  # verified blocks that wait until they are wanted
_LEAST_BLOCK_COST: Final = 256  # what a block costs in memory beside its bytes

Emit = Callable[[Piece], None]


class Intake:
    """One file's walk, with where its bytes go and the blocks that came too early for it."""

    def __init__(self, root: Cid, max_blocks: int, emit: Emit) -> None:
        self.root = root
        self.walk = FileWalk(root, max_blocks=max_blocks)
        self.emit = emit
        self._early: dict[Cid, bytes] = {}
        self._early_bytes = 0

    @property
    def whole(self) -> bool:
        return self.walk.wanted is None

    def take(self, cid: Cid, block: bytes) -> bool:
        """A verified block: did the file get further by it? Raises BadDag, BadCar."""
        if cid != self.walk.wanted:
            if not self.walk.knows(cid):
                self._keep(cid, block)
            return False
        next_block: bytes | None = block
        while next_block is not None:
            for piece in self.walk.accept(next_block):
                self.emit(piece)
            next_block = self._unkeep(self.walk.wanted)
        return True

    def by_car(self, blocks: Blocks, guard: Guard) -> None:
        """What a CAR of the rest brings; the file may still have gaps then. Raises TryElsewhere."""
        self._early, self._early_bytes = {}, 0
        repeats = 0  # bytes that came as copies of what was there, and that are sent all the same
        for cid, block in blocks:
            known, before = self.walk.knows(cid), self.walk.position
            if self.take(cid, block):
                further = self.walk.position - before
                repeats += max(0, further - len(block))
                guard.progress(max(len(block), further))
            elif known and repeats > 0:
                repeats -= len(block)
                guard.progress(len(block))
            if self.whole:
                return

    def by_block(self, session: Session) -> None:
        """The rest block by block, a few at a time. Raises TryElsewhere when one is not had."""
        self._early, self._early_bytes = {}, 0

        def ask(cid: Cid) -> bytes:
            block = session.block(cid)
            session.guard.progress(len(block))
            return block

        with ThreadPoolExecutor(session.parallel) as pool:
            while not self.whole:
                ahead = list(dict.fromkeys(self.walk.upcoming(session.parallel)))
                asked = [cid for cid in ahead if cid.inline is None and not self.walk.knows(cid)]
                for cid, block in zip(asked, pool.map(ask, asked), strict=True):
                    self.take(cid, block)

    def _keep(self, cid: Cid, block: bytes) -> None:
        if cid in self._early:
            return
        self._early_bytes += len(block) + _LEAST_BLOCK_COST
        if self._early_bytes > EARLY_BYTES:
            raise BadCar("too many blocks that were not asked for, or far out of order")
        self._early[cid] = block

    def _unkeep(self, cid: Cid | None) -> bytes | None:
        block = self._early.pop(cid, None) if cid is not None else None
        if block is not None:
            self._early_bytes -= len(block) + _LEAST_BLOCK_COST
        return block
