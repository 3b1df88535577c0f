"""What the journal promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.transaction_log import TxStatus
from agent.decide.job_view import LaunchPhase
from agent.journal import migrating
from agent.journal.engines import open_server, storable
from agent.journal.lines import ENDED, Event, LaunchRecord
from agent.journal.orders import WAITED_SECONDS, OrderKind, OrderRecord, Orders, Taken
from agent.journal.reading import Reader
from agent.journal.schema import metadata
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal, Unstorable
from agent.market.model import JobId
from agent.secret import SecretUrl
from faults import MustStop, RetryLater
from tests.agent.journal.conftest import Open
from tests.agent.journal.test_journal import record
from tests.postgres import SCHEMES, Server

pytestmark = pytest.mark.integration

ONE, TWO = JobId(1), JobId(2**40)
LARGEST = 2**63 - 1


def launch(attempt: int = 1, job: JobId = ONE, region: str = "us-east-1") -> LaunchRecord:
    kind = f"{region}/c6a.xlarge"
    return LaunchRecord(2.0, job, 1, attempt, region, kind, LaunchPhase.ASKED, None, "")


def test_migrations__from_nothing__give_the_tables_the_code_knows(opened: Open) -> None:
    found = sa.MetaData()
    found.reflect(opened())
    for name, table in metadata.tables.items():
        assert set(found.tables[name].columns.keys()) == set(table.columns.keys())


def test_open__by_many_at_once__migrates_once(opened: Open) -> None:
    with ThreadPoolExecutor(8) as many:
        engines = list(many.map(lambda _: opened(), range(8)))
    for engine in engines:
        Journal(engine).event(Event(1.0, "job.assigned", ONE))
        assert Reader(engine).timeline(ONE) == []


def test_timeline__lines_and_launches__are_read_back_by_another(opened: Open) -> None:
    journal, reader = Journal(opened()), Reader(opened())
    fields = {"instance": "i-1", "n": [1, None, {"a": 2.5}]}
    journal.event(Event(1.0, "job.assigned", ONE, 3, 30, "a text", fields))
    journal.event(Event(2.0, ENDED, ONE))
    journal.event(Event(3.0, "job.assigned", TWO, LARGEST))
    journal.event(Event(4.0, "offer.listed"))
    journal.launch(launch(LARGEST))
    journal.launch(launch(2, TWO, "eu-west-1"))
    asyncio.run(journal.durable())
    first, _second = reader.timeline(ONE)
    assert first == Event(1.0, "job.assigned", ONE, 3, 30, "a text", fields)
    assert reader.jobs() == [TWO, ONE]
    assert reader.ended() == {ONE: 2.0}
    assert reader.last("job.assigned")[TWO].generation == LARGEST
    assert [line.at for line in reader.own("offer.listed")] == [4.0]
    assert reader.launches([ONE, TWO])[ONE] == [launch(LARGEST)]
    assert [one.job for one in reader.launches_outside(["us-east-1"])] == [TWO]
    journal.close()


POISON: dict[str, Callable[[], Event | LaunchRecord]] = {
    "too large": lambda: launch(LARGEST + 1),
    "no text": lambda: Event(1.0, "bad", ONE, text=object()),  # type: ignore[arg-type] # bad
    "no JSON": lambda: Event(1.0, "bad", ONE, fields={"x": object()}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_row__that_can_t_be_stored__is_dropped_alone(
    poison: Callable[[], Event | LaunchRecord], opened: Open
) -> None:
    journal = Journal(opened())

    async def noted() -> None:
        journal.event(Event(1.0, "before", ONE))
        bad = poison()
        journal.launch(bad) if isinstance(bad, LaunchRecord) else journal.event(bad)
        journal.event(Event(1.0, "after", ONE))
        with pytest.raises(Unstorable):
            await journal.durable()
        journal.event(Event(2.0, "later", ONE))
        await journal.durable()

    asyncio.run(noted())
    names = [line.name for line in Reader(journal.engine).timeline(ONE)]
    assert names == ["before", "after", "later"]
    assert not journal.degraded
    journal.close()


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "héllo", "\U0001f9aa"])
def test_text__of_any_kind__is_stored_and_spelt_out_where_it_must(text: str, opened: Open) -> None:
    journal = Journal(opened())
    journal.event(Event(1.0, "host.error", ONE, text=text, fields={"why": text, text: 1}))
    TxJournal(journal.engine).add(replace(record("a"), reason=text))
    assert journal.flush()
    (line,) = Reader(journal.engine).timeline(ONE)
    assert (line.text, line.fields["why"]) == (storable(text), storable(text))
    (kept,) = TxJournal(journal.engine).unfinished()
    assert kept.reason == storable(text)
    journal.close()


def test_transactions__put_again_and_read__are_as_they_were_last(opened: Open) -> None:
    log = TxJournal(opened())
    first = replace(record("a"), nonce=LARGEST, job=TWO)
    log.add(first)
    log.change(replace(first, status=TxStatus.MINED, final=True, block=2**40))
    log.add(replace(record("b", 2), nonce=7))
    latest = log.latest("a")
    assert latest is not None
    assert (latest.status, latest.nonce, latest.block) == (TxStatus.MINED, LARGEST, 2**40)
    assert [one.key for one in log.unfinished()] == ["b"]
    assert set(log.nonces(0)) == {LARGEST, 7}
    assert log.worst_fees() == latest.worst_fee + record("b", 2).worst_fee
    assert sum(log.worst_fees_by_day().values()) == log.worst_fees()


def test_orders__placed_and_taken_by_others__come_once_and_in_order(opened: Open) -> None:
    placing, taking = Orders(opened()), Orders(opened())
    first = placing.place(1.0, OrderKind.EXIT, TWO, "root")
    second = placing.place(2.0, OrderKind.OFFER, None, "root", {"type": "x", "price": "1"})
    assert first < second
    taken = Taken()
    fresh = taken.take(taking.after(taken.last, taken.missing), 3.0)
    assert [(one.id, one.job, dict(one.fields)) for one in fresh] == [
        (first, TWO, {}), (second, None, {"type": "x", "price": "1"}),
    ]  # fmt: skip
    assert taken.take(taking.after(taken.last, taken.missing), 4.0) == []


def _order(number: int) -> OrderRecord:
    return OrderRecord(number, 0.0, OrderKind.EXIT, ONE, "me")


@given(st.permutations(list(range(1, 9))), st.integers(1, 8))
def test_taken__numbers_that_become_visible_in_any_order__are_taken_once_each(
    order: list[int], step: int
) -> None:
    """Within WAITED_SECONDS; the first look takes what is there as all there was."""
    taken, got = Taken(last=0), list[int]()
    got += [one.id for one in taken.take([_order(n) for n in sorted(order[:step])], 0.0)]
    begun = max(order[:step])
    for until in range(step + 1, len(order) + 1):
        visible = [_order(n) for n in sorted(order[:until])]
        asked = [one for one in visible if one.id > taken.last or one.id in taken.missing]
        got += [one.id for one in taken.take(asked, float(until))]
    assert len(got) == len(set(got))
    assert set(got) >= {n for n in order if n > begun}


def test_taken__a_number_nobody_used__is_waited_for_a_minute() -> None:
    taken = Taken()
    taken.take([_order(1)], 0.0)
    taken.take([_order(3)], 1.0)
    assert set(taken.missing) == {2}
    taken.take([], 1.0 + WAITED_SECONDS)
    assert not taken.missing


# Of the server alone.


def test_order__that_is_committed_after_a_later_one__is_taken_all_the_same(server: Server) -> None:
    engine = open_server(server.database())
    insert = sa.insert(metadata.tables["orders"])
    row: dict[str, Any] = {"at": 1.0, "kind": OrderKind.EXIT, "by": "me"}
    taken, orders = Taken(), Orders(engine)
    orders.place(0.0, OrderKind.EXIT, ONE, "me")
    taken.take(orders.after(), 0.0)
    with engine.connect() as slow:
        slow.execute(insert.values({**row, "job": 7}))  # has its number, is not committed
        orders.place(2.0, OrderKind.EXIT, TWO, "me")
        assert [one.job for one in taken.take(orders.after(taken.last), 2.0)] == [TWO]
        slow.commit()
    late = taken.take(orders.after(taken.last, taken.missing), 3.0)
    assert [one.job for one in late] == [7]
    engine.dispose()


def test_server__away__is_to_be_asked_later_and_the_rows_are_kept(server: Server) -> None:
    url = server.database()
    journal = Journal(open_server(url, 500))
    try:
        server.stop()
        journal.event(Event(1.0, "job.assigned", ONE))
        assert not journal.flush()
        assert journal.degraded
        with pytest.raises(RetryLater):
            Reader(journal.engine).timeline(ONE)
        with pytest.raises(RetryLater):
            TxJournal(journal.engine).add(record("a"))
        with pytest.raises(RetryLater, match="does not answer"):
            open_server(url, 500)
    finally:
        server.start()
    assert journal.flush()
    assert [line.name for line in Reader(journal.engine).timeline(ONE)] == ["job.assigned"]
    journal.close()


def test_commit__that_waits_for_a_standby_of_the_database_s__is_let_go_and_not_made_twice(
    server: Server,
) -> None:
    """A stored row whose commit is not answered: no timeout of the server's ends that wait."""
    url = server.database()
    journal = Journal(open_server(url, 200))
    engine = open_server(url)
    ours = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    try:
        _wait_for_standby(engine, "nobody")
        for number in range(3):
            journal.event(Event(1.0 + number, "job.assigned", ONE))
            assert not journal.flush()
        assert "no answer within 2 s" in journal.degraded
        with engine.connect() as connection:
            assert (connection.scalar(ours) or 9) <= 3
    finally:
        _wait_for_standby(engine, "")
    assert journal.flush()
    assert [line.at for line in Reader(journal.engine).timeline(ONE)] == [1.0, 2.0, 3.0]
    journal.close()
    engine.dispose()


def test_commit__that_a_backend_holds_and_ends_when_it_wakes__is_there_once(server: Server) -> None:
    """What is written again meanwhile waits for it, as long as a statement may."""
    journal = Journal(open_server(server.database(), 200))
    held = list[int]()

    def hold(connection: sa.Connection) -> None:
        if not held:
            held.append(connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)
            os.kill(held[0], signal.SIGSTOP)

    sa.event.listen(journal.engine, "commit", hold)
    for number in range(3):
        journal.event(Event(1.0 + number, "job.assigned", ONE))
        journal.launch(launch(number))
    try:
        assert not journal.flush()
        assert not journal.flush()
    finally:
        os.kill(held[0], signal.SIGCONT)
    while not journal.flush():
        pass
    reader = Reader(journal.engine)
    assert [line.at for line in reader.timeline(ONE)] == [1.0, 2.0, 3.0]
    assert [one.attempt for one in reader.launches([ONE])[ONE]] == [0, 1, 2]
    journal.close()


def _wait_for_standby(engine: sa.Engine, name: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    for _ in range(100):
        with engine.connect() as connection:
            if connection.scalar(sa.text("SHOW synchronous_standby_names")) == name:
                return
    raise AssertionError("the server did not read its settings")


@pytest.mark.parametrize("bad", [None, 0, 2_400])
def test_backlog__of_thousands_of_lines__is_stored_once_and_whole(
    opened: Open, bad: int | None
) -> None:
    journal = Journal(opened())
    for number in range(2_500):
        job = JobId(1 << 70) if number == bad else ONE  # no column takes that
        journal.event(Event(float(number), "job.assigned", job))
    assert journal.flush() is (bad is None)
    stored = [line.at for line in Reader(journal.engine).timeline(ONE, 5_000)]
    assert stored == [float(number) for number in range(2_500) if number != bad]
    journal.close()


def test_url__that_is_of_no_such_database__stops_with_a_word_and_no_password(
    server: Server,
) -> None:
    where = f"oyster:hunter2secret@127.0.0.1:{server.port}/nowhere"
    with pytest.raises((MustStop, RetryLater)) as found:
        open_server(SecretUrl(f"postgresql+psycopg://{where}", SCHEMES))
    assert "nowhere" in str(found.value)
    assert "hunter2secret" not in str(found.value)


def test_open__while_a_newer_version_migrates__is_as_after_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before, and waited: what it finds then is newer than all it knows."""
    engine = opened()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    looks, look = iter([False]), migrating.is_current
    monkeypatch.setattr(migrating, "is_current", lambda one: next(looks, look(one)))
    migrating.migrate(engine)


@pytest.mark.parametrize(
    "password", ["hunter@2secret", "12#hunter2secret", "h@hunter/2#secret", "h@hunter/2secret"]
)
def test_url__with_signs_of_its_password_unescaped__stops_and_shows_none_of_it(
    password: str,
) -> None:
    """What reads it to connect and what reads it to show it would take it in two ways."""
    url = f"postgresql+psycopg://oyster:{password}@127.0.0.1:1/x"
    with pytest.raises(MustStop, match="%40") as found:
        open_server(SecretUrl(url, SCHEMES))
    assert "secret" not in str(found.value)


def test_server__that_answers_and_refuses__is_not_told_as_silent(server: Server) -> None:
    with pytest.raises(RetryLater, match=r"takes no connection of ours: .*nowhere.*not exist"):
        open_server(server.url("nowhere"))


@pytest.mark.parametrize("host", ["[::1]:1", "127.0.0.1,Localhost", "127.0.0.1:1"])
def test_url__of_any_kind_of_host__is_asked(host: str) -> None:
    password = "%40%2F%3F%23%25"
    with pytest.raises(RetryLater, match="does not answer"):
        open_server(SecretUrl(f"postgresql+psycopg://o:{password}@{host}/x?port=1", SCHEMES))


@pytest.mark.parametrize(("encoding", "taken"), [("LATIN1", False), ("SQL_ASCII", True)])
def test_database__whose_encoding_lacks_letters__is_refused_at_once(
    server: Server, encoding: str, taken: bool
) -> None:
    """A stranger's text in a line took everything else with it that waited for the same commit."""
    admin = sa.create_engine(server.url("postgres").reveal(), isolation_level="AUTOCOMMIT")
    make = f"CREATE DATABASE {encoding} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
    with admin.connect() as connection:
        connection.exec_driver_sql(make)
    admin.dispose()
    if not taken:
        with pytest.raises(MustStop, match=r"LATIN1.*UTF8"):
            open_server(server.url(encoding.lower()))
        return
    journal = Journal(open_server(server.url(encoding.lower())))
    journal.event(Event(1.0, "told", ONE, text="… h\u00e9llo"))
    assert journal.flush()
    assert Reader(journal.engine).timeline(ONE)[0].text == "… h\u00e9llo"
    journal.close()
