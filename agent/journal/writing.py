"""The agent's side of the journal: what happened when. Append-only.

The journal is for people, and saves the agent repetition. No decision needs it but what only a
person can order (exits, confirmed terminations): chain and tags say the rest, so losing the file
loses history.

Records are buffered, and committed together, on a thread of the journal's own: a slow disk, or
another process that holds the file, keeps those waiting who asked for durability, for a second at
most, and the loop never. A disk that is full makes the journal `degraded`, never the agent dead. A
row that can't be stored is a bug: it alone is dropped, with an error, and those who wait are told
(`Unstorable`). What a host hears that stands by is kept by the one that leads, and not by it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from agent.journal.committing import Row, commit
from agent.journal.engines import storable, storable_json
from agent.journal.hosts import Alone, Lease
from agent.journal.lines import Event, LaunchRecord
from agent.journal.refusals import first_line
from agent.journal.schema import launches, timeline
from faults import Fault, Fenced, RetryLater

log = structlog.get_logger()

MAX_WAITING = 100_000  # records kept while the disk refuses them; the oldest go first
PATIENCE_SECONDS = 1.0  # a launch waits so long for its intent: its ClientToken says the same

Commit: TypeAlias = Callable[[], int]
Aside: TypeAlias = Callable[[Commit], Awaitable[int]]
"""Runs one commit where nobody has to wait for it, and returns what it returned."""


class Unstorable(Exception):  # no Fault: no caller foresees it
    """Rows that were waited for were dropped: what they announce must not be done."""


class Journal:
    """The agent's writer; `agent.journal.reading` is for everybody else."""

    def __init__(self, engine: sa.Engine, lease: Lease | None = None) -> None:
        self.engine = engine
        self._shared = lease is not None and not isinstance(lease, Alone)
        self._lease: Lease = lease or Alone()
        self.degraded = ""  # why nothing can be written; empty: all is well
        self.told: Callable[[Event], None] = lambda event: None  # each line, for metrics
        self._keys = count(secrets.randbits(64) << 64)  # nobody else's, and in their order
        self._waiting: list[Row] = []
        self._turn: asyncio.Future[None] | None = None  # of those who wait for the next commit
        self._under_way: asyncio.Future[None] | None = None  # of those in the commit that runs
        self._committing = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._writer: asyncio.Task[None] | None = None

    def event(self, event: Event) -> None:
        """Note a line of a timeline; committed with the next flush."""
        self._add(timeline, {**_plain(event), "fields": dict(event.fields)})
        self.told(event)

    def launch(self, record: LaunchRecord) -> None:
        """Note what is known of a launch; await `durable` at once, before the call it announces."""
        self._add(launches, {**_plain(record), "phase": record.phase.value})

    def _add(self, table: sa.Table, row: dict[str, Any]) -> None:
        if not self._lease.is_taken():
            return  # who leads writes it; what nobody led for is read back (`agent.history`)
        _make_storable(row)
        if "fields" in row:
            row["fields"] = storable_json(row["fields"])
        if self.engine.dialect.name != "sqlite":  # a file answers for itself
            row["key"] = UUID(int=next(self._keys))
        self._waiting.append((table, row))
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[: MAX_WAITING // 10]

    # Committing aside of the loop.

    async def durable(self) -> None:
        """Returns when what was noted is committed, or the journal is degraded.

        Everyone who asks in one turn of the loop shares one commit. Raises Unstorable to all of
        them when a row was dropped: whose it was is not known. A file that does not take the rows
        in PATIENCE_SECONDS makes the journal degraded; they are committed when it does.
        """
        self.flush_soon()
        mine = self._turn or self._under_way
        if mine is None or (self.degraded and self._under_way is not None):
            return
        done, _ = await asyncio.wait({mine}, timeout=PATIENCE_SECONDS)
        if done:
            mine.result()
        else:
            self._degrade("the file takes nothing: a slow disk, or another process holds it")

    async def announced(self) -> None:
        """The same before what can't be undone. Where hosts share the journal, raises RetryLater
        while it is degraded, or another host leads: the fence stands before what is committed, and
        nothing is."""
        if not self._lease.is_taken():
            raise RetryLater("the journal takes nothing: another host leads")
        await self.durable()
        if self._shared and self.degraded:
            raise RetryLater(f"the journal takes nothing: {self.degraded}")

    async def caught_up(self) -> None:
        """The same for who only reads after it: a row that was dropped was not theirs."""
        with suppress(Unstorable):
            await self.durable()

    def flush_soon(self) -> None:
        """Have what was noted committed, without waiting for it."""
        if not self._waiting or self._turn is not None:
            return
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        self._turn.add_done_callback(_seen)
        loop.call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._end_turns(), name="journal")

    async def _end_turns(self) -> None:
        while self._turn is not None:
            self._under_way, self._turn = self._turn, None
            try:
                await self._flush_aside()
            except asyncio.CancelledError:
                self._under_way.cancel()
                raise
            except Fault as said:  # another host leads, or the file is damaged: no bug of ours
                log.error("journal.stops", error=str(said))
                _tell(self._under_way, said)
            except Exception as broken:
                log.error("journal.broken", exc_info=broken)
                _tell(self._under_way, broken)  # or they would wait for ever
            _tell(self._under_way)
            self._under_way = None

    async def _flush_aside(self) -> None:
        rows = self._take()
        try:
            dropped = await self.aside(lambda: self._commit(rows))
        except SQLAlchemyError as broken:
            self._refused(rows, broken)
            return
        except Exception:
            self._waiting[:0] = rows
            raise
        if (said := self._stored(dropped)) is not None:
            _tell(self._under_way, said)

    async def aside(self, work: Commit) -> int:
        """On the journal's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # Committing here and now.

    def flush(self) -> bool:
        """Commit what was noted. False when not all of it was: the disk refuses, and `degraded`
        says why, or a row was dropped, and those who wait are told."""
        rows = self._take()
        if not rows:
            return True
        try:
            dropped = self._commit(rows)
        except SQLAlchemyError as broken:
            self._refused(rows, broken)
            return False
        except Exception:
            self._waiting[:0] = rows
            raise
        if (said := self._stored(dropped)) is not None:
            # Whoever flushes: it may be somebody else than those whose turn is still to end.
            turn, self._turn = self._turn, None
            _tell(turn, said)
        return not dropped

    def _take(self) -> list[Row]:
        rows, self._waiting = self._waiting, []
        return rows

    def _commit(self, rows: list[Row]) -> int:
        with self._committing:  # one writer of this process at a time: two would wait on the file
            return commit(self.engine, rows, self._lease.fence)

    def _refused(self, rows: list[Row], broken: SQLAlchemyError) -> None:
        """The disk's word: the rows are committed with the next ones."""
        self._waiting[:0] = rows
        self._degrade(first_line(broken))

    def _degrade(self, why: str) -> None:
        if not self.degraded:
            log.error("journal.degraded", error=why)
        self.degraded = why

    def _stored(self, dropped: int) -> Unstorable | None:
        self.degraded = ""
        return (
            Unstorable(f"the journal dropped {dropped} rows that can't be stored")
            if dropped
            else None
        )

    def close(self) -> None:
        """What is under way is committed, then the rest; not where another host leads by now."""
        self._thread.shutdown()
        try:
            self.flush()
        except Fenced as another:
            log.warning("journal.left", rows=len(self._waiting), error=str(another))
        finally:
            self.engine.dispose()


def _tell(turn: asyncio.Future[None] | None, broken: BaseException | None = None) -> None:
    """End the wait of all who wait for this turn."""
    if turn is None or turn.done():
        return
    if broken is None:
        turn.set_result(None)
    else:
        turn.set_exception(broken)


def _seen(turn: asyncio.Future[None]) -> None:
    """Nobody has to wait for a turn: what broke it was logged."""
    if not turn.cancelled():
        turn.exception()


def _make_storable(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str):
            row[name] = storable(value)


def _plain(record: Event | LaunchRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
