"""No identical transaction twice, on the chain as it is: what is mined, not what was sent.

The same call under two nonces is one too many when the first one worked and left the second
nothing to do. What came before a lost journal counts for its own time only; and a fork that makes
the first one work after all, once the second is on its way, is nobody's fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.ports import Call
from devnet.simulation.blocks import Block, Tx
from devnet.simulation.invariants import Invariants
from devnet.simulation.protocol import Job
from devnet.simulation.watch import TWICE
from devnet.simulation.wire.chain import OurTx, WireChain

ENDS = frozenset({Call.SETTLE, Call.FINALIZE_EXIT})
OFFERS = frozenset({Call.REGISTER, Call.DEREGISTER})  # of no job; listings come and go


@dataclass
class Ledger:
    """Hears of what is sent (`sent`) and of each block (`look`)."""

    chain: WireChain
    watch: Invariants
    _right: set[tuple[int, int]] = field(default_factory=set)  # pairs of nonces

    def sent(self, tx: Tx) -> None:
        """A second one is right after a first that was mined and did not do it."""
        if isinstance(tx, OurTx) and tx.function not in OFFERS:
            for other in self.chain.log.values():
                if isinstance(other, OurTx) and _same(other, tx) and self._failed(other):
                    self._right.add((other.nonce, tx.nonce))

    def _failed(self, tx: OurTx) -> bool:
        ended = _job(self.chain.head, tx)
        without_end = tx.function in ENDS and (ended is None or not ended.stop_reason)
        return bool(tx.reverted) or (tx.block is not None and without_end)

    def look(self, block: Block) -> None:
        """Says TWICE, once for each pair."""
        for tx in _ours(block):
            for other, first in self._earlier(tx):
                pair = (other.nonce, tx.nonce)
                if pair not in self._right and self._needless(tx, block, first):
                    text = f"{tx.function}{tx.args} is mined under nonces {pair[0]} and {pair[1]}"
                    self.watch.violated(TWICE, text, pair)

    def _earlier(self, tx: OurTx) -> Iterator[tuple[OurTx, Block]]:
        """The same call in this chain, that worked, and its block."""
        if tx.function not in OFFERS:
            for block in self.chain.blocks_:
                for other in _ours(block):
                    if _same(other, tx) and other.nonce < tx.nonce and not other.reverted:
                        yield other, block

    def _needless(self, tx: OurTx, block: Block, first: Block) -> bool:
        """Whether the call was done in `first`, for all that happened since."""
        found, now = _job(self._before(first), tx), _job(self._before(block), tx)
        left = _job(first, tx)
        if found is None or now is None or left is None or found.generation != now.generation:
            return False
        ended = bool(left.stop_reason) and not found.stop_reason
        return tx.function not in ENDS or ended or found == now

    def _before(self, block: Block) -> Block:
        return self.chain.blocks_[block.ref.number - 1]


def _job(block: Block, tx: OurTx) -> Job | None:
    jobs, number = block.state.jobs, int(tx.args[0])
    return jobs[number - 1] if number <= len(jobs) else None


def _same(one: OurTx, other: OurTx) -> bool:
    calls = (one.function, one.args, one.era) == (other.function, other.args, other.era)
    return calls and one is not other


def _ours(block: Block) -> Iterator[OurTx]:
    return (tx for tx in block.txs if isinstance(tx, OurTx))
