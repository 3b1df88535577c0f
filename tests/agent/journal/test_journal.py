"""The journal: append-only, shared by processes, and never what stops the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

from agent.chain.encoding import Fees
from agent.chain.transaction_log import Attempt, TxRecord, TxStatus
from agent.decide.job_view import LaunchPhase
from agent.journal import schema
from agent.journal.engines import open_file
from agent.journal.lines import Event, LaunchRecord
from agent.journal.migrating import migrate
from agent.journal.orders import OrderKind, Orders
from agent.journal.reading import Reader
from agent.journal.refusals import of_the_disk
from agent.journal.schema import metadata
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal, Unstorable
from agent.market.model import Address, JobId, Wei
from devnet.simulation import loop
from devnet.simulation.world import Simulation, Step
from faults import MustStop, RetryLater

pytestmark = pytest.mark.unit

ONE = JobId(1)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_file(tmp_path / "journal.sqlite")


def test_migrations__from_nothing__give_the_tables_the_code_knows(engine: sa.Engine) -> None:
    found = sa.MetaData()
    found.reflect(engine)
    for name, table in metadata.tables.items():
        assert set(found.tables[name].columns.keys()) == set(table.columns.keys())
    engine.dispose()


def test_schema__newest_migration__is_the_one_the_code_names() -> None:
    versions = Path(schema.__file__).parent / "migrations" / "versions"
    newest = ScriptDirectory(str(versions.parent)).get_current_head()
    assert newest == schema.SCHEMA


def test_journal__schema_is_current__is_opened_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    open_file(path).dispose()
    script = (
        "import sys; from pathlib import Path; from agent.journal.engines import open_file;"
        f"open_file(Path({str(path)!r})); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)  # our words


def test_journal__of_an_older_schema__is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    engine = open_file(path)
    with engine.begin() as connection:
        for table in (*metadata.sorted_tables, "alembic_version"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()
    engine = open_file(path)
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


def take_back(engine: sa.Engine, version: str) -> None:
    """The schema of an older version."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, version)


def test_journal__of_the_first_version__keeps_its_orders(tmp_path: Path) -> None:
    """Orders had no fields then."""
    path = tmp_path / "journal.sqlite"
    engine = open_file(path)
    take_back(engine, "0001")
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO orders VALUES (1, 2.0, 'exit', 7, 'root')"))
    engine.dispose()
    again = open_file(path)
    (order,) = Orders(again).after()
    assert (order.kind, order.job, order.fields) == ("exit", 7, {})
    assert Orders(again).place(3.0, OrderKind.PAUSE, None, "root") == 2
    again.dispose()


def test_journal__opened_again__keeps_what_was_written(tmp_path: Path) -> None:
    for number in range(3):
        engine = open_file(tmp_path / "journal.sqlite")
        journal = Journal(engine)
        journal.event(Event(float(number), "job.assigned", ONE, 1, fields={"n": number}))
        journal.close()
    reader = Reader(open_file(tmp_path / "journal.sqlite"))
    assert [event.fields["n"] for event in reader.timeline(ONE)] == [0, 1, 2]
    reader.engine.dispose()


def test_journal__many_wait_in_one_turn__share_one_commit(engine: sa.Engine) -> None:
    commits = 0

    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    sa.event.listen(engine, "commit", count)
    journal = Journal(engine)

    async def one(number: int) -> None:
        journal.launch(
            LaunchRecord(1.0, JobId(number), 1, 1, "r", "t", LaunchPhase.ASKED, None, "")
        )
        await journal.durable()

    async def everybody() -> None:
        await asyncio.gather(*(one(number) for number in range(500)))

    asyncio.run(everybody())
    assert commits == 1
    assert len(Reader(engine).launches([JobId(n) for n in range(500)])) == 500
    journal.close()


def test_journal__read_and_ordered_by_another_process__while_the_agent_writes(
    tmp_path: Path,
) -> None:
    ours, theirs = (open_file(tmp_path / "journal.sqlite") for _ in range(2))
    journal, cli = Journal(ours), Reader(theirs)
    journal.event(Event(1.0, "job.assigned", ONE))
    journal.flush()
    Orders(theirs).place(2.0, OrderKind.EXIT, ONE, "root")
    assert [event.name for event in cli.timeline(ONE)] == ["job.assigned"]
    orders = Orders(ours).after()
    assert [(order.kind, order.job) for order in orders] == [(OrderKind.EXIT, ONE)]
    assert Orders(ours).after(orders[-1].id) == []
    ours.dispose()
    theirs.dispose()


def test_journal__disk_refuses__is_degraded_and_keeps_what_waits(engine: sa.Engine) -> None:
    journal = Journal(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE timeline RENAME TO elsewhere"))
    journal.event(Event(1.0, "job.assigned", ONE))
    assert not journal.flush()
    assert journal.degraded
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO timeline"))
    assert journal.flush()
    assert not journal.degraded
    assert len(Reader(engine).timeline(ONE)) == 1
    journal.close()


HALF = "é \ud800 \U0001f600"
SPELT = "é \\ud800 \U0001f600"
TOO_LARGE = 1 << 80  # for SQLite's integers
WAIT_SECONDS = 5.0  # a hang fails instead of lasting


def asked(job: int = ONE, **changes: Any) -> LaunchRecord:
    fields = {"generation": 1, "attempt": 1, "region": "r", "instance_type": "t", **changes}
    return LaunchRecord(1.0, JobId(job), phase=LaunchPhase.ASKED, **fields)


async def waited(journal: Journal) -> None:
    await asyncio.wait_for(journal.durable(), WAIT_SECONDS)


def test_durable__text_with_half_a_surrogate__is_kept_and_spelt_out(engine: sa.Engine) -> None:
    journal = Journal(engine)
    journal.event(Event(1.0, "host.error", ONE, text=HALF, fields={"why": HALF, "n": 1}))
    journal.launch(asked(reason=HALF))
    asyncio.run(waited(journal))
    (line,) = Reader(engine).timeline(ONE)
    assert (line.text, line.fields) == (SPELT, {"why": SPELT, "n": 1})
    assert [each.reason for each in Reader(engine).launches([ONE])[ONE]] == [SPELT]
    journal.close()


def unstorable(journal: Journal, what: str) -> None:
    if what == "launch":
        journal.launch(asked(attempt=TOO_LARGE))
    else:
        fields = {"x": object()} if what == "fields" else {}
        text: Any = object() if what == "text" else ""
        journal.event(Event(1.0, "bad", ONE, text=text, fields=fields))


@pytest.mark.parametrize("what", ["launch", "fields", "text"])
def test_durable__a_row_that_can_t_be_stored__is_raised_to_all_and_dropped_alone(
    what: str, engine: sa.Engine
) -> None:
    journal = Journal(engine)

    async def everybody() -> list[object]:
        journal.event(Event(1.0, "before", ONE))
        unstorable(journal, what)
        journal.event(Event(1.0, "after", ONE))
        journal.launch(asked(2))
        both = (waited(journal), waited(journal))
        return list(await asyncio.gather(*both, return_exceptions=True))

    assert [type(each) for each in asyncio.run(everybody())] == [Unstorable, Unstorable]
    assert [line.name for line in Reader(engine).timeline(ONE)] == ["before", "after"]
    assert list(Reader(engine).launches([ONE, JobId(2)])) == [2]
    assert not journal.degraded
    journal.event(Event(2.0, "later", ONE))
    asyncio.run(waited(journal))
    assert Reader(engine).timeline(ONE)[-1].name == "later"
    journal.close()


@pytest.mark.usefixtures("quiet")
def test_launch__its_intent_can_t_be_stored__is_made_only_when_the_next_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted, tried = Journal.launch, list[LaunchRecord]()

    def launch(journal: Journal, record: LaunchRecord) -> None:
        tried.append(record)
        noted(journal, record if len(tried) > 1 else replace(record, attempt=TOO_LARGE))

    monkeypatch.setattr(Journal, "launch", launch)
    script: list[Step] = [(1.0, lambda simulation: simulation.market.assign(ONE))]
    simulation = Simulation()
    simulation.run(script, 120.0)
    made = [when for when, text in simulation.done if text.startswith("launch")]
    assert len(made) == 1
    assert made[0] >= tried[1].at - loop.START > tried[0].at - loop.START
    assert "effect.bug" in simulation.events(ONE)
    assert [each.attempt for each in Reader(simulation.engine).launches([ONE])[ONE]][:1] == [1]


def test_durable__somebody_else_flushed_the_row_that_can_t_be_stored__raises(
    engine: sa.Engine,
) -> None:
    journal = Journal(engine)

    async def overtaken() -> None:
        unstorable(journal, "launch")
        waits = asyncio.create_task(journal.durable())
        asyncio.get_running_loop().call_soon(journal.flush)  # between its wait and its turn's end
        with pytest.raises(Unstorable):
            await asyncio.wait_for(waits, WAIT_SECONDS)
        journal.launch(asked())
        await waited(journal)

    asyncio.run(overtaken())
    assert len(Reader(engine).launches([ONE])[ONE]) == 1
    journal.close()


def test_durable__the_flush_breaks__is_raised_and_the_rows_wait(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(engine)
    journal.launch(asked())
    with monkeypatch.context() as patched:
        patched.setattr(engine, "begin", lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(waited(journal))
    asyncio.run(waited(journal))
    assert len(Reader(engine).launches([ONE])[ONE]) == 1
    journal.close()


def test_flush__the_file_is_damaged__is_degraded_and_drops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(open_file(path))
    journal.engine.dispose()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    journal.launch(asked())
    asyncio.run(waited(journal))
    assert "malformed" in journal.degraded
    journal.engine.dispose()
    path.write_bytes(whole)
    assert journal.flush()
    assert len(Reader(journal.engine).launches([ONE])[ONE]) == 1
    journal.close()


def test_journal__not_a_database__stops_with_a_word(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(MustStop, match="journal"):
        open_file(file)


def test_open__the_disk_refuses_the_file__is_waited_for_and_not_moved_away(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(RetryLater, match=r"can't be opened.* has to own it") as told:
        open_file(tmp_path / "journal.sqlite")
    assert "move" not in str(told.value)


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (sqlite3.SQLITE_FULL, "free some of its disk"),
        (sqlite3.SQLITE_IOERR_FSYNC, "look at its disk"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "has to own it and its folder"),
        (sqlite3.SQLITE_CANTOPEN, "has to own it and its folder"),
        (sqlite3.SQLITE_CORRUPT, ""),
        (sqlite3.SQLITE_NOTADB, ""),
    ],
)
def test_of_the_disk__each_code__says_what_to_do_where_the_disk_refuses(
    code: int, todo: str
) -> None:
    refused = sqlite3.OperationalError("refused")
    refused.sqlite_errorcode = code
    said = of_the_disk(sa.exc.OperationalError("", {}, refused))
    assert todo in said
    assert bool(said) == bool(todo)


def record(key: str, send: int = 1, **changes: object) -> TxRecord:
    fields: dict[str, object] = {
        "key": key,
        "send": send,
        "job": ONE,
        "label": "settle(1)",
        "to": Address("0x4444444444444444444444444444444444444444"),
        "data": b"\x01\x02",
        "nonce": send,
        "gas": 100_000,
        "created_at": 10.0,
        "attempts": (Attempt("0xaa", "0xbb", Fees(Wei(10**20), Wei(3)), 11.0),),
    }
    return TxRecord(**{**fields, **changes})  # type: ignore[arg-type] # a table of fields


def test_transactions__add_and_read__are_the_same(engine: sa.Engine) -> None:
    log = TxJournal(engine)
    first, second = record("a"), record("a", 2, status=TxStatus.MINED, final=True, fee=Wei(10**19))
    log.add(first)
    log.add(second)
    assert log.latest("a") == second
    assert log.unfinished() == [first]
    assert sorted(log.nonces(0)) == [1, 2]
    assert log.nonces(2) == [2]
    assert log.worst_fees(job=ONE) == 100_000 * 10**20 + 10**19
    assert log.worst_fees(since=11.0) == 0
    log.change(record("a", status=TxStatus.LOST, final=True))
    assert log.unfinished() == []
    assert log.highest() == 2
    engine.dispose()


def test_transactions__nonce_or_send_that_is_taken__are_taken_once(engine: sa.Engine) -> None:
    log = TxJournal(engine)
    log.add(record("a", nonce=7))
    for other in (record("b", nonce=7), record("a", nonce=8)):
        with pytest.raises(RetryLater, match="was taken by another process"):
            log.add(other)
    assert log.latest("b") is None
    log.change(record("a", nonce=7, status=TxStatus.LOST, final=True))
    log.add(record("b", nonce=7))
    assert [each.key for each in log.unfinished()] == ["b"]
    with pytest.raises(RetryLater, match="not in the journal"):
        log.change(record("c", nonce=9))
    engine.dispose()


def test_transactions__two_writers_with_one_nonce__one_wins_whoever_it_is(
    tmp_path: Path,
) -> None:
    engines = [open_file(tmp_path / "journal.sqlite") for _ in range(3)]
    won = []

    def write(number: int) -> None:
        for nonce in range(1, 31):
            with contextlib.suppress(RetryLater):
                TxJournal(engines[number]).add(record(f"{number}:{nonce}", nonce=nonce))
                won.append(nonce)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert sorted(won) == list(range(1, 31))
    for engine in engines:
        engine.dispose()


def test_migrate__nonces_that_an_older_version_took_twice__keep_what_the_chain_took(
    tmp_path: Path,
) -> None:
    engine = open_file(tmp_path / "journal.sqlite")
    log = TxJournal(engine)
    take_back(engine, "0002")
    log.add(record("mined", nonce=5, status=TxStatus.MINED, created_at=1.0))
    log.add(record("later", nonce=5, created_at=9.0))
    log.add(record("old", nonce=6, created_at=1.0))
    log.add(record("new", nonce=6, created_at=2.0))
    log.add(record("alone", nonce=7))
    migrate(engine)
    kept = {key for key in ("mined", "later", "old", "new", "alone")
            if (found := log.latest(key)) and found.status is not TxStatus.LOST}  # fmt: skip
    assert kept == {"mined", "new", "alone"}
    assert sorted(log.nonces(0)) == [5, 6, 7]
    engine.dispose()


def test_transactions__reason_with_half_a_surrogate__is_spelt_out(engine: sa.Engine) -> None:
    log = TxJournal(engine)
    log.add(record("a", reason=HALF))
    found = log.latest("a")
    assert found is not None
    assert found.reason == SPELT
    engine.dispose()


@pytest.mark.parametrize("write", ["transaction", "order"])
def test_write__that_nothing_else_knows__is_on_the_disk_when_it_returns(
    write: str, engine: sa.Engine
) -> None:
    levels: list[int] = []

    def note(connection: sa.Connection) -> None:
        levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    sa.event.listen(engine, "commit", note)
    if write == "transaction":
        TxJournal(engine).add(record("a"))
    else:
        Orders(engine).place(1.0, OrderKind.EXIT, ONE, "me")
    assert levels == [2], "FULL: the log is synced at the commit"
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 1
    engine.dispose()


def test_transactions__the_disk_is_full__wait_and_stop_nothing(engine: sa.Engine) -> None:
    log = TxJournal(engine)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = record("a", data=b"x" * 1_000_000)
    with pytest.raises(RetryLater, match="full"):
        log.add(big)
    assert log.latest("a") is None
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=100000")
    log.add(big)
    assert log.latest("a") == big
    engine.dispose()


def test_transactions__the_file_is_damaged__stop_the_agent(engine: sa.Engine) -> None:
    log = TxJournal(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no BEFORE INSERT ON transactions "
            "BEGIN SELECT RAISE(ABORT, 'damaged'); END"
        )
    with pytest.raises(MustStop, match="damaged"):
        log.add(record("a"))
    engine.dispose()


def test_open__whoever_makes_the_file__it_is_its_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        engine = open_file(tmp_path / "new" / "journal.sqlite")
        Journal(engine).event(Event(1.0, "job.assigned", ONE))
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM orders"))
        modes = {file.name: file.stat().st_mode & 0o077 for file in (tmp_path / "new").iterdir()}
        engine.dispose()
    finally:
        os.umask(before)
    assert "journal.sqlite-wal" in modes
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("several", [False, True])
def test_lines__behind_a_number__are_found_by_it(engine: sa.Engine, several: bool) -> None:
    """By their names SQLite read all lines that ever had one of these, at each look."""
    asked = list[str]()
    with engine.connect() as connection:

        def explain(_: object, cursor: Any, statement: str, parameters: Any, *more: object) -> None:
            if statement.startswith("SELECT"):
                found = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                asked.extend(str(row[3]) for row in found)

        sa.event.listen(engine, "before_cursor_execute", explain)
        Reader(engine).told_after(7, ["a", "b"] if several else ["a"], 10)
        connection.rollback()
    assert asked == ["SEARCH timeline USING INTEGER PRIMARY KEY (rowid>?)"]
    engine.dispose()
