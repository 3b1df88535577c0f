"""A transactions' log for tests of what is over it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.chain.transaction_log import Taken, TxRecord, TxStatus
from agent.market.model import JobId


class MemoryLog:
    """A log that ends with the process."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], TxRecord] = {}

    def add(self, record: TxRecord) -> None:
        taken = (record.key, record.send) in self.records
        if taken or (record.nonce in self.nonces(0) and record.status is not TxStatus.LOST):
            raise Taken(f"nonce {record.nonce} or send {record.send} is taken")
        self.put(record)

    def change(self, record: TxRecord) -> None:
        assert (record.key, record.send) in self.records
        self.put(record)

    def put(self, record: TxRecord) -> None:
        """Either of both, for tests that break it."""
        self.records[(record.key, record.send)] = record

    def latest(self, key: str) -> TxRecord | None:
        mine = [record for record in self.records.values() if record.key == key]
        return max(mine, key=lambda record: record.send, default=None)

    def unfinished(self) -> Sequence[TxRecord]:
        pending = [record for record in self.records.values() if not record.final]
        return sorted(pending, key=lambda record: record.nonce)

    def nonces(self, least: int) -> Sequence[int]:
        live = [r.nonce for r in self.records.values() if r.status is not TxStatus.LOST]
        return [nonce for nonce in live if nonce >= least]

    def highest(self) -> int | None:
        return max(self.nonces(0), default=None)

    def worst_fees(self, *, job: JobId | None = None, since: float = 0.0) -> int:
        return sum(
            record.worst_fee
            for record in self.records.values()
            if record.created_at >= since and job in (None, record.job)
        )
