"""A transactions' log for tests of what is over it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.chain.transaction_log import TxRecord, TxStatus
from agent.market.model import JobId


class MemoryLog:
    """A log that ends with the process."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], TxRecord] = {}

    def put(self, record: TxRecord) -> None:
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

    def worst_fees(self, *, job: JobId | None = None, since: float = 0.0) -> int:
        return sum(
            record.worst_fee
            for record in self.records.values()
            if record.created_at >= since and job in (None, record.job)
        )
