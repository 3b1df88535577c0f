"""What is kept of every transaction, and what the journal must do to keep it.

A record is written before its transaction is broadcast and carries the signed bytes, so there is
no crash after which it's unknown what was sent: what is open is looked for and sent again as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from agent.aside import Aside
from agent.chain.encoding import Fees
from agent.chain.nonces import first_free
from agent.market.model import Address, JobId, Wei
from faults import RetryLater

FASTER_MOST = 8  # of hosts and terminals that send at once, each of which takes one nonce first


class TxStatus(StrEnum):
    OPEN = "open"  # recorded; broadcast or about to be
    MINED = "mined"  # in a block, and succeeded
    REVERTED = "reverted"  # in a block, and would revert again: never sent again
    FAILED = "failed"  # in a block and reverted, but would succeed now: may be sent again
    LOST = "lost"  # another transaction took its nonce: may be sent again


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction; those of a record share nonce and call, and differ in fees."""

    hash: str
    raw: str = field(repr=False)
    fees: Fees
    at: float  # unix seconds


@dataclass(frozen=True, slots=True)
class TxRecord:
    """One nonce spent for one key. `send` counts the nonces that a key has taken, from 1."""

    key: str
    send: int
    job: JobId | None
    label: str
    to: Address
    data: bytes = field(repr=False)
    nonce: int
    gas: int
    created_at: float
    attempts: tuple[Attempt, ...]
    status: TxStatus = TxStatus.OPEN
    final: bool = False  # what it says can't be undone by a fork any more
    tx_hash: str = ""  # of the attempt that is in a block
    block: int = 0
    fee: Wei = Wei(0)  # noqa: RUF009 - paid, once in a block
    reason: str = ""

    @property
    def worst_fee(self) -> int:
        """Wei: what it cost, or may cost at most while that is open."""
        if self.status is TxStatus.OPEN:
            return self.gas * max(attempt.fees.max_fee for attempt in self.attempts)
        return self.fee


class Taken(RetryLater):
    """Another process recorded something under this nonce, or this key and send, before."""


class TransactionStore(Protocol):
    """Kept by the journal, for one account on one chain. Every write is durable on return. All may
    raise RetryLater."""

    def add(self, record: TxRecord) -> None:
        """A new one. Raises RetryLater: not now; Taken: its nonce (of one that is not lost) or its
        key and send were taken meanwhile by another process; MustStop: never."""
        ...

    def change(self, record: TxRecord) -> None:
        """What is new of one that was added. Raises RetryLater: not now; MustStop: never."""
        ...

    def latest(self, key: str) -> TxRecord | None:
        """The record of this key with the highest send."""
        ...

    def unfinished(self) -> Sequence[TxRecord]:
        """All that are not final, by nonce."""
        ...

    def nonces(self, least: int) -> Sequence[int]:
        """From `least` on, of all records but lost ones."""
        ...

    def highest(self) -> int | None:
        """The highest nonce of all records but lost ones."""
        ...

    def worst_fees(self, *, job: JobId | None = None, since: float = 0.0) -> int:
        """Sum of `worst_fee` in wei, of one job or all, of records created at `since` or later."""
        ...


MakeRecord: TypeAlias = Callable[[int], Awaitable[TxRecord]]
"""Signs the transaction with this nonce."""


class TransactionLog:
    """A store as the loop asks it: aside where the store may wait for a server."""

    def __init__(self, store: TransactionStore, aside: Aside) -> None:
        self._store = store
        self._aside = aside

    async def add(self, record: TxRecord) -> None:
        """As `TransactionStore.add`."""
        await self._aside(lambda: self._store.add(record))

    async def add_numbered(self, mined: int, make: MakeRecord) -> TxRecord:
        """What `make` makes of the first free nonce from `mined` on, added. Where another process
        is faster, of the next one. Raises as `add`."""
        for _ in range(FASTER_MOST):
            record = await make(first_free(mined, await self.nonces(mined)))
            with suppress(Taken):
                await self.add(record)
                return record
        raise Taken(f"transaction {record.label} waits: others take each nonce first")

    async def change(self, record: TxRecord) -> None:
        """As `TransactionStore.change`."""
        await self._aside(lambda: self._store.change(record))

    async def latest(self, key: str) -> TxRecord | None:
        """The record of this key with the highest send."""
        return await self._aside(lambda: self._store.latest(key))

    async def unfinished(self) -> Sequence[TxRecord]:
        """All that are not final, by nonce."""
        return await self._aside(self._store.unfinished)

    async def nonces(self, least: int) -> Sequence[int]:
        """From `least` on, of all records but lost ones."""
        return await self._aside(lambda: self._store.nonces(least))

    async def highest(self) -> int | None:
        """The highest nonce of all records but lost ones."""
        return await self._aside(self._store.highest)

    async def worst_fees(self, *, job: JobId | None = None, since: float = 0.0) -> int:
        """Sum of `worst_fee` in wei, of one job or all, of records created at `since` or later."""
        return await self._aside(lambda: self._store.worst_fees(job=job, since=since))
