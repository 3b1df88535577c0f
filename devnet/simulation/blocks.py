"""A chain of blocks with a contract's model on it: a pool, finality, forks.

Every block keeps the state it ends in, so a reorganisation takes blocks off, shuffles what was in
them and runs it again: job ids and seconds come out differently, as on a real chain. Whose model it
is does not matter here; how endpoints tell of it stands in `chain` and `wire`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.market.model import BlockNumber, BlockRef
from agent.ports import Clock, Order
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import US
from devnet.simulation.opinions import Views
from devnet.simulation.protocol import Event, Refusal


@dataclass(eq=False, slots=True)
class Tx:
    """One transaction: in the pool, or in a block. `key` is the agent's, None for other people."""

    sender: str
    function: str
    args: tuple[Any, ...]
    key: str | None = None
    block: int | None = None
    reverted: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Block:
    """`state` is what the block ends in; `logs` pair events with the transaction's sender."""

    ref: BlockRef
    state: Any
    txs: tuple[Tx, ...] = ()
    logs: tuple[Event, ...] = ()


@dataclass
class BlockChain:
    """`depth` blocks under the head are final: no fork is deeper than that."""

    clock: Clock
    weather: Weather
    model: Any  # protocol.Model, or marketv1.model.MarketV1: `call` is whole or not at all
    block_seconds: float = 12.0
    depth: int = 5
    pool: list[Tx] = field(default_factory=list)
    views: Views = field(default_factory=Views)
    frozen: bool = False
    disk_full: bool = False
    on_block: Callable[[Block], None] = lambda block: None
    on_undone: Callable[[Block], None] = lambda block: None
    on_sent: Callable[[Tx, Order], None] = lambda tx, order: None

    def __post_init__(self) -> None:
        self._forks = 0
        self.log: dict[str, Tx] = {}
        self.blocks_: list[Block] = [Block(self._ref(0, int(self.clock.now())), self.model.state)]

    # Blocks.

    async def mine_for_ever(self) -> None:
        while True:
            await self.clock.sleep(self.block_seconds)
            if not self.frozen:
                self.mine()

    @property
    def head(self) -> Block:
        return self.blocks_[-1]

    @property
    def final(self) -> Block:
        return self.blocks_[max(0, len(self.blocks_) - 1 - self.depth)]

    def _ref(self, number: int, at: int) -> BlockRef:
        self._forks += 1
        return BlockRef(BlockNumber(number), f"0x{self._forks:064x}", at)

    def mine(self, at: int | None = None) -> None:
        """One block of all that waits, at second `at` (now)."""
        pool, self.pool = self.pool, []
        self._append(pool, int(self.clock.now()) if at is None else at)

    def _append(self, txs: Sequence[Tx], at: int) -> None:
        ref = self._ref(len(self.blocks_), max(at, self.head.ref.timestamp + 1))
        self.model.now, logs = ref.timestamp, list[Event]()
        for tx in txs:
            tx.block, tx.reverted = ref.number, ""
            try:
                logs += self._run(tx)
            except Refusal as refusal:
                tx.reverted = str(refusal)
        block = Block(ref, self.model.state, tuple(txs), tuple(logs))
        self.blocks_.append(block)
        self._news(block)
        self.on_block(block)
        for tx in txs:
            tx.done.set()

    def _run(self, tx: Tx) -> Sequence[Event]:
        """Its events. Raises Refusal: it reverts."""
        events: Sequence[Event] = self.model.call(tx.sender, tx.function, *tx.args)
        return events

    def _news(self, block: Block) -> None:
        """A block came, or went: for who hears of it otherwise than by asking."""

    def reorganise(self, depth: int, rng: random.Random) -> None:
        """The last `depth` blocks never were; a longer fork has most of their transactions."""
        depth = min(depth, self.depth - 1, len(self.blocks_) - 1)
        if depth < 1:
            return
        gone, self.blocks_ = self.blocks_[-depth:], self.blocks_[:-depth]
        self.model.state = self.head.state
        for block in gone:
            self._news(block)
            self.on_undone(block)
        txs = self._survivors(gone, rng)
        for block in gone:
            share = len(txs) if block is gone[-1] else rng.randint(0, len(txs))
            now, txs = txs[:share], txs[share:]
            self._append(now, block.ref.timestamp)
        self.mine()

    def _survivors(self, gone: Sequence[Block], rng: random.Random) -> list[Tx]:
        txs = [tx for block in gone for tx in block.txs]
        for tx in txs:
            tx.block, tx.done = None, asyncio.Event()
        if rng.random() < 0.5:
            ours = iter([tx for tx in txs if tx.sender == US])
            rng.shuffle(txs)  # but one sender's nonces keep their order
            txs = [next(ours) if tx.sender == US else tx for tx in txs]
        return [tx for tx in txs if tx.key is not None or rng.random() < 0.95]

    # People: in the next block.

    def submit(self, sender: str, function: str, *args: Any) -> None:
        self.pool.append(Tx(sender, function, args))

    @property
    def unmined(self) -> int:
        """Transactions of the provider that nodes keep: here the next block has them all."""
        return 0

    def lose_log(self) -> None:
        """The journal's file is gone: what waits in the pool is the node's knowledge alone."""
        self.log.clear()
        for tx in self.pool:
            tx.key = None

    def restart(self) -> None:
        """A new process has heard of nothing before."""
