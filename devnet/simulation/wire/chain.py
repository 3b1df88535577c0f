"""A storm's chain with an account on it: one nonce sequence, fees, and a pool that nodes keep.

Everybody else's transactions go into the next block as in `BlockChain`; the provider's are signed
bytes that wait in the pool until their nonce is next and the block's base fee lets them in. A fork
takes them off; then they are mined again, wait again, or are forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.chain.encoding import Fees, Unsigned
from devnet.simulation.blocks import Block, BlockChain, Tx
from devnet.simulation.names import REGISTRY, US
from devnet.simulation.protocol import Event, Refusal
from devnet.simulation.wire.orders import OrderOf, order_of
from devnet.simulation.wire.words import REGISTRY_WORDS, Words

GWEI = 10**9
GAS = 60_000  # that each call takes
INTRINSIC = 24_000  # that its bytes take before anything is run: nodes take nothing below
BUMP_PERCENT = 10  # by which geth wants both fees raised in a replacement
CHAIN_ID = 1


class Declined(Exception):
    """What a node says when it does not take a transaction."""


@dataclass(eq=False, slots=True)
class OurTx(Tx):
    """One call under one nonce; its attempts differ in fees. `mined` is the hash in the block.

    `era` counts the journals that were lost before it came: what was sent is forgotten with one.
    """

    nonce: int = 0
    era: int = 0
    mined: str = ""
    paid: int = 0  # wei per gas
    gas: int = GAS  # that it may use


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes that a node has seen."""

    hash: str
    fees: Fees
    tx: OurTx


@dataclass
class WireChain(BlockChain):
    """`waiting` is the nodes' pool of the provider's transactions, by nonce; `words` and `order_of`
    say what a transaction calls, and what the agent ordered by it."""

    base_fee: int = GWEI
    words: Words = REGISTRY_WORDS
    order_of: OrderOf = order_of
    waiting: dict[int, Attempt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._heard: dict[str, Attempt] = {}
        self._back: dict[int, Attempt] = {}  # taken off by the fork that goes on
        self._era = 0
        self._used: dict[str, int] = {self.head.ref.hash: 0}  # nonces used, by block

    def nonce_at(self, block: Block) -> int:
        """How many transactions of the provider are mined by the end of that block."""
        return self._used[block.ref.hash]

    @property
    def unmined(self) -> int:
        return len(self.waiting)

    def lose_log(self) -> None:
        """Nodes know nothing of the agent's journal: what waits goes on waiting."""
        self._era += 1

    # The pool.

    def take(self, raw_hash: str, what: Unsigned) -> None:
        """One signed transaction comes to a node. Raises Declined, as geth would."""
        other = self.waiting.get(what.nonce)
        self._check(raw_hash, what, other)
        known = self._heard.get(raw_hash)
        attempt = known or Attempt(raw_hash, what.fees, self._tx_of(what))
        if other is not None and other.tx is not attempt.tx:
            other.tx.reverted = "replaced by another call"
        self._heard[raw_hash] = self.waiting[what.nonce] = attempt

    def _check(self, raw_hash: str, what: Unsigned, other: Attempt | None) -> None:
        if what.chain_id != CHAIN_ID or what.to != REGISTRY:
            raise Declined("not for this market")
        if other is not None and other.hash == raw_hash:
            raise Declined("already known")
        if what.nonce < self.nonce_at(self.head):
            raise Declined("nonce too low")
        if what.gas < INTRINSIC:
            raise Declined("intrinsic gas too low")
        if other is not None and not _outbids(what.fees, other.fees):
            raise Declined("replacement transaction underpriced")

    def _tx_of(self, what: Unsigned) -> OurTx:
        """The transaction that these bytes are an attempt of: an earlier one, or a new one."""
        function, args = self.words.called(what.data)
        name = f"{what.nonce}:{function}:{args}"
        known = self.log.get(name)
        if isinstance(known, OurTx):
            return known
        tx = OurTx(US, function, args, key="ours", nonce=what.nonce, era=self._era, gas=what.gas)
        self.log[name] = tx
        self.on_sent(tx, self.order_of(function, args))
        return tx

    def forget(self) -> None:
        """The nodes' pool is lost, as under pressure or in a restart."""
        self.waiting.clear()

    def attempt(self, raw_hash: str) -> Attempt | None:
        """What nodes know of a hash, mined or not."""
        return self._heard.get(raw_hash)

    def simulate(self, block: Block, function: str, args: tuple[Any, ...]) -> None:
        """A call of the provider after that block, of no effect. Raises Refusal."""
        before, now = self.model.state, self.model.now
        self.model.state, self.model.now = block.state, max(int(self.clock.now()), now)
        try:
            self.model.call(US, function, *args)
        finally:
            self.model.state, self.model.now = before, now

    # Blocks.

    def mine(self, at: int | None = None) -> None:
        """One block of all that waits, as far as nonces and fees let it."""
        self.pool += self._ready()
        super().mine(at)

    def _ready(self) -> list[OurTx]:
        """Ours in the order of their nonces, without gaps, at the block's base fee."""
        found: list[OurTx] = []
        nonce = self.nonce_at(self.head)
        while (one := self.waiting.get(nonce)) is not None and one.fees.max_fee >= self.base_fee:
            one.tx.mined = one.hash
            one.tx.paid = min(one.fees.max_fee, self.base_fee + one.fees.tip)
            del self.waiting[nonce]
            found.append(one.tx)
            nonce += 1
        return found

    def _append(self, txs: Sequence[Tx], at: int) -> None:
        used = self.nonce_at(self.head) + sum(isinstance(tx, OurTx) for tx in txs)
        coming = self._forks + 1  # its hash is known before anybody hears of the block
        self._used[f"0x{coming:064x}"] = used
        super()._append(txs, at)

    def _run(self, tx: Tx) -> Sequence[Event]:
        if isinstance(tx, OurTx) and tx.gas < GAS:
            raise Refusal("out of gas")
        return super()._run(tx)

    def reorganise(self, depth: int, rng: random.Random) -> None:
        """As the chain's; what comes back to the pool waits for the block after."""
        super().reorganise(depth, rng)
        self.waiting |= self._back
        self._back = {}

    def _survivors(self, gone: Sequence[Block], rng: random.Random) -> list[Tx]:
        """Of ours the first few stay in the new blocks; the rest waits again, or is forgotten."""
        left = super()._survivors(gone, rng)
        ours = [tx for block in gone for tx in block.txs if isinstance(tx, OurTx)]
        stay = rng.choice([len(ours), rng.randint(0, len(ours))])
        forgotten = rng.random() < 0.4
        for tx in ours[stay:]:
            if not forgotten:
                self._back[tx.nonce] = self._heard[tx.mined]
            tx.mined = ""
        return [tx for tx in left if not isinstance(tx, OurTx) or tx.mined]


def _outbids(new: Fees, old: Fees) -> bool:
    pairs = ((new.max_fee, old.max_fee), (new.tip, old.tip))
    return all(now * 100 >= was * (100 + BUMP_PERCENT) for now, was in pairs)
