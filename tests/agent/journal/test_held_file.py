"""Another process holds the journal's file: nothing of the agent stands still, nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.journal import writing
from agent.journal.engines import open_file
from agent.journal.lines import Event
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.journal.refusals import holds_file
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal
from agent.market.model import JobId
from faults import RetryLater
from tests.agent.journal.test_journal import record

pytestmark = pytest.mark.integration

ONE = JobId(1)
Read = Callable[[sa.Engine], object]


@contextmanager
def held(file: Path, *, from_readers: bool = False) -> Iterator[None]:
    """As a backup or a person's sqlite3 holds it."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        if from_readers:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE IF NOT EXISTS of_theirs (x)")
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    open_file(tmp_path / "journal.sqlite").dispose()
    return tmp_path / "journal.sqlite"


def test_durable__the_file_is_held__the_loop_turns_on_and_the_rows_are_kept(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", 0.2)
    journal, turns = Journal(open_file(file, busy_milliseconds=400)), 0

    async def turn_for_ever() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def noted_while_held() -> int:
        beside = asyncio.create_task(turn_for_ever())
        with held(file):
            journal.event(Event(1.0, "job.assigned", ONE))
            begun = turns
            await journal.durable()
            seen = turns - begun
        beside.cancel()
        return seen

    assert asyncio.run(noted_while_held()) > 10
    assert "holds it" in journal.degraded or "locked" in journal.degraded
    journal.close()
    with closing(sqlite3.connect(file)) as found:
        assert found.execute("SELECT name FROM timeline").fetchall() == [("job.assigned",)]


def test_durable__while_degraded__waits_no_more_until_the_file_is_free(file: Path) -> None:
    journal = Journal(open_file(file, busy_milliseconds=50))

    async def several() -> None:
        with held(file):
            for number in range(3):
                journal.event(Event(float(number), "job.assigned", ONE))
                await journal.durable()
                assert journal.degraded
        journal.event(Event(4.0, "job.assigned", ONE))
        await journal.durable()
        while journal.degraded:
            await journal.durable()

    asyncio.run(several())
    assert len(Reader(journal.engine).timeline(ONE)) == 4
    journal.close()


def test_transaction__the_file_is_held__is_to_be_sent_later(file: Path) -> None:
    engine = open_file(file, busy_milliseconds=20)
    with held(file), pytest.raises(RetryLater, match="waits"):
        TxJournal(engine).add(record("a"))
    TxJournal(engine).add(record("a"))
    engine.dispose()


READS: dict[str, Read] = {
    "timeline": lambda engine: Reader(engine).timeline(ONE),
    "ended": lambda engine: Reader(engine).ended(),
    "orders": lambda engine: Orders(engine).after(),
    "latest": lambda engine: TxJournal(engine).latest("a"),
    "nonces": lambda engine: TxJournal(engine).nonces(0),
    "fees": lambda engine: TxJournal(engine).worst_fees(),
    "days": lambda engine: TxJournal(engine).worst_fees_by_day(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_read__the_file_is_held_from_readers_too__is_to_be_asked_later(
    file: Path, read: Read
) -> None:
    with held(file, from_readers=True):
        engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.02})
        with pytest.raises(RetryLater, match="just now"):
            read(engine)
        engine.dispose()


def test_open__the_file_is_held__is_to_be_tried_later_and_not_moved_away(file: Path) -> None:
    with held(file, from_readers=True), pytest.raises(RetryLater, match="another process holds"):
        open_file(file, busy_milliseconds=20)


def test_open__of_a_new_file_that_another_writes_for_a_moment__waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.executescript("CREATE TABLE of_theirs (x); BEGIN IMMEDIATE;")
        letting_go = threading.Timer(0.3, other.rollback)
        letting_go.start()
        open_file(file, busy_milliseconds=60_000).dispose()
        assert not other.in_transaction
        letting_go.join()


def test_open__of_a_new_file_that_another_writes_on__is_to_be_tried_later(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.executescript("CREATE TABLE of_theirs (x); BEGIN IMMEDIATE;")
        with pytest.raises(RetryLater, match="another process holds"):
            open_file(file, busy_milliseconds=100)


@pytest.mark.parametrize(
    ("code", "held"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_LOCKED, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_NOTADB, False),
        (sqlite3.SQLITE_FULL, False),
    ],
)
def test_holds_file__each_code__goes_by_what_is_wrong_and_not_by_where(
    code: int, held: bool
) -> None:
    refused = sqlite3.OperationalError("refused")
    refused.sqlite_errorcode = code
    assert holds_file(refused) is held
    assert not holds_file(ValueError("no database's"))
