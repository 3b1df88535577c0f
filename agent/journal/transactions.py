"""The transactions' log in the journal's file (`agent.chain.transaction_log.TransactionLog`).

Unlike the timelines a write here is durable before it returns: a transaction that was broadcast
and not recorded could be sent twice. While the disk is full nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from agent.chain.encoding import Fees
from agent.chain.transaction_log import Attempt, Taken, TxRecord, TxStatus
from agent.journal.engines import asking, changing, storable
from agent.journal.hosts import Alone, Lease
from agent.journal.refusals import first_line, is_taken
from agent.journal.schema import Big, metadata
from agent.market.model import Address, JobId, Wei
from faults import Fault, MustStop, RetryLater

transactions = sa.Table(
    "transactions",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("send", sa.Integer, primary_key=True),
    sa.Column("job", Big),
    sa.Column("label", sa.Text),
    sa.Column("target", sa.Text),
    sa.Column("data", sa.LargeBinary),
    sa.Column("nonce", Big),
    sa.Column("gas", Big),
    sa.Column("created_at", sa.Float),
    sa.Column("attempts", sa.JSON),
    sa.Column("status", sa.Text),
    sa.Column("final", sa.Boolean),
    sa.Column("tx_hash", sa.Text),
    sa.Column("block", Big),
    sa.Column("fee", sa.Text),
    sa.Column("worst_fee", sa.Text),
    sa.Column("reason", sa.Text),
)


class TxJournal:
    """One account's transactions on one chain."""

    def __init__(self, engine: sa.Engine, lease: Lease | None = None) -> None:
        self._engine = engine
        self._fence = (lease or Alone()).fence

    def add(self, record: TxRecord) -> None:
        """A new one, once: its key and send, and its nonce unless it is lost, are its own.

        Raises Taken: another process took one of them; RetryLater: the disk is full, or somebody
        else writes; MustStop: the file is broken.
        """
        with self._writing(record) as connection:
            connection.execute(sa.insert(transactions).values(_row(record)))

    def change(self, record: TxRecord) -> None:
        """What is new of one that was added. Raises RetryLater: not now, or it is there no more;
        MustStop: the file is broken."""
        mine = sa.and_(transactions.c.key == record.key, transactions.c.send == record.send)
        with self._writing(record) as connection:
            done = connection.execute(sa.update(transactions).where(mine).values(_row(record)))
            if done.rowcount != 1:
                raise RetryLater(f"transaction {record.label} is not in the journal any more")

    def latest(self, key: str) -> TxRecord | None:
        """The record of this key with the highest send."""
        query = sa.select(transactions).where(transactions.c.key == key)
        found = self._all(query.order_by(transactions.c.send.desc()).limit(1))
        return found[0] if found else None

    def unfinished(self) -> Sequence[TxRecord]:
        """All that are not final, by nonce."""
        query = sa.select(transactions).where(transactions.c.final.is_(False))
        return self._all(query.order_by(transactions.c.nonce))

    def nonces(self, least: int) -> Sequence[int]:
        """From `least` on, of all records but lost ones."""
        query = sa.select(transactions.c.nonce).where(transactions.c.nonce >= least)
        query = query.where(transactions.c.status != TxStatus.LOST.value)
        with asking(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def highest(self) -> int | None:
        """The highest nonce of all records but lost ones."""
        query = sa.select(sa.func.max(transactions.c.nonce))
        query = query.where(transactions.c.status != TxStatus.LOST.value)
        with asking(self._engine) as connection:
            found: int | None = connection.scalar(query)
            return found

    def worst_fees(self, *, job: JobId | None = None, since: float = 0.0) -> int:
        """Sum of `worst_fee` in wei, of one job or all, of records created at `since` or later."""
        query = sa.select(transactions.c.worst_fee).where(transactions.c.created_at >= since)
        if job is not None:
            query = query.where(transactions.c.job == job)
        with asking(self._engine) as connection:
            return sum(int(fee) for fee in connection.execute(query).scalars())

    def worst_fees_by_day(self, since: float = 0.0) -> dict[int, int]:
        """Sums of `worst_fee` in wei by day (its first second, UTC), of all transactions."""
        query = sa.select(transactions.c.created_at, transactions.c.worst_fee)
        days: dict[int, int] = {}
        with asking(self._engine) as connection:
            for at, fee in connection.execute(query.where(transactions.c.created_at >= since)):
                day = int(at) - int(at) % 86_400
                days[day] = days.get(day, 0) + int(fee)
        return days

    @contextmanager
    def _writing(self, record: TxRecord) -> Iterator[sa.Connection]:
        try:
            what = f"transaction {record.label} waits: it can't be recorded"
            with changing(self._engine, what, self._fence) as connection:
                yield connection
        except DBAPIError as wrong:
            raise _of_the_row(record, wrong) from None

    def _all(self, query: sa.Select[Any]) -> list[TxRecord]:
        with asking(self._engine) as connection:
            return [_record(dict(row)) for row in connection.execute(query).mappings()]


def _of_the_row(record: TxRecord, wrong: DBAPIError) -> Fault:
    if isinstance(wrong, IntegrityError) and is_taken(wrong):
        text = f"transaction {record.label} waits: nonce {record.nonce} or send {record.send}"
        return Taken(f"{text} was taken by another process: {first_line(wrong)}")
    return MustStop(f"transaction {record.label} can't be recorded: {first_line(wrong)}")


def _row(record: TxRecord) -> dict[str, Any]:
    attempts = [
        [one.hash, one.raw, str(one.fees.max_fee), str(one.fees.tip), one.at]
        for one in record.attempts
    ]
    return {
        "key": record.key,
        "send": record.send,
        "job": record.job,
        "label": record.label,
        "target": record.to,
        "data": record.data,
        "nonce": record.nonce,
        "gas": record.gas,
        "created_at": record.created_at,
        "attempts": attempts,
        "status": record.status.value,
        "final": record.final,
        "tx_hash": record.tx_hash,
        "block": record.block,
        "fee": str(record.fee),
        "worst_fee": str(record.worst_fee),
        "reason": storable(record.reason),
    }


def _record(row: Mapping[str, Any]) -> TxRecord:
    attempts = tuple(
        Attempt(tx_hash, raw, Fees(Wei(int(most)), Wei(int(tip))), at)
        for tx_hash, raw, most, tip, at in row["attempts"]
    )
    return TxRecord(
        key=row["key"],
        send=row["send"],
        job=None if row["job"] is None else JobId(row["job"]),
        label=row["label"],
        to=Address(row["target"]),
        data=row["data"],
        nonce=row["nonce"],
        gas=row["gas"],
        created_at=row["created_at"],
        attempts=attempts,
        status=TxStatus(row["status"]),
        final=row["final"],
        tx_hash=row["tx_hash"],
        block=row["block"],
        fee=Wei(int(row["fee"])),
        reason=row["reason"],
    )
