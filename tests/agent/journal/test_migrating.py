"""Migrations of a server's journal beside an older leader that writes to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from agent.journal import migrating
from agent.journal.engines import asking, bring_up_to_date, changing, open_server
from agent.journal.hosts import LeaseRules, Member
from agent.journal.lease import ServerLease
from agent.journal.lines import Event
from agent.journal.reading import Reader
from agent.journal.refusals import BehindSchema
from agent.journal.schema import SCHEMA
from agent.journal.writing import Journal
from agent.secret import SecretUrl
from faults import Fault, RetryLater
from tests import pooler
from tests.agent.journal.test_journal import take_back
from tests.postgres import Server

pytestmark = pytest.mark.integration

WRITES = sa.text(
    "INSERT INTO timeline (at, name, level, text, fields) VALUES (1, 'a', 20, '', '{}')"
)
INDEXES = sa.text(
    "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid"
    " WHERE indisvalid AND indisready ORDER BY relname"
)


@pytest.fixture(params=["directly", "through a pooler"])
def url(request: pytest.FixtureRequest, server: Server) -> Iterator[SecretUrl]:
    direct = server.database()
    open_server(direct).dispose()
    if request.param == "directly":
        yield direct
        return
    with pooler.made(server, backends=5) as port:
        yield server.url(direct.reveal().rpartition("/")[2], port)


@pytest.fixture
def leader(url: SecretUrl) -> Iterator[sa.Engine]:
    """An older version's, as far as its writes go."""
    engine = open_server(url, 2_000)
    yield engine
    engine.dispose()


def older(url: SecretUrl, version: str) -> None:
    engine = open_server(url)
    take_back(engine, version)
    engine.dispose()


def indexes(engine: sa.Engine) -> set[str]:
    with asking(engine) as connection:
        return set(connection.scalars(INDEXES))


def version(engine: sa.Engine) -> str:
    with asking(engine) as connection:
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


@contextmanager
def unhurried(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of somebody whom the server lets pause in it."""
    with engine.connect() as connection:
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


@contextmanager
def migrates(url: SecretUrl) -> Iterator[list[Exception]]:
    """In another thread, over at the end; what it raised."""
    raised = list[Exception]()

    def run() -> None:
        try:
            open_server(url, 2_000).dispose()
        except Fault as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield raised
    thread.join()


def until_it_waits(engine: sa.Engine) -> None:
    """For a lock, in a statement that makes an index."""
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE 'CREATE%INDEX%' AND datname = current_database()"
    )
    event = threading.Event()
    for _ in range(200):
        with asking(engine) as connection:
            if connection.scalar(query):
                return
        event.wait(0.05)
    raise AssertionError("no index is being made")


def test_index__that_waits_for_a_transaction__keeps_no_other_write_waiting(
    url: SecretUrl, leader: sa.Engine
) -> None:
    older(url, "0006")
    with unhurried(leader) as slow:
        slow.execute(WRITES)
        with migrates(url) as raised:
            until_it_waits(leader)
            for _ in range(3):
                with changing(leader, "x") as connection:
                    connection.execute(sa.text("SET LOCAL lock_timeout = 300"))
                    connection.execute(WRITES)
            slow.commit()
    assert raised == []
    assert {"timeline_name", "timeline_key", "launches_key"} <= indexes(leader)
    assert version(leader) == SCHEMA


def test_columns__behind_a_long_read__give_up_before_the_leader_s_writes_do(
    url: SecretUrl, leader: sa.Engine
) -> None:
    """pg_dump holds the table for as long as it reads: whoever waits for it has writers wait."""
    older(url, "0005")
    with unhurried(leader) as dump:
        dump.execute(sa.text("LOCK TABLE timeline IN ACCESS SHARE MODE"))
        with migrates(url) as raised, changing(leader, "x") as connection:
            connection.execute(WRITES)  # within the two seconds of its locks
        assert version(leader) == "0005"
    (said,) = raised
    assert isinstance(said, RetryLater)
    assert "a long read (pg_dump)" in str(said)
    open_server(url).dispose()
    assert version(leader) == SCHEMA


def test_index__that_was_left_half_made__is_made_anew(url: SecretUrl, leader: sa.Engine) -> None:
    """By a server that ended meanwhile: it is there, and no conflict is found by it."""
    older(url, "0006")
    half = sa.text(
        "CREATE UNIQUE INDEX timeline_key ON timeline (key) WHERE key IS NOT NULL;"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'timeline_key'::regclass"
    )
    with changing(leader, "x") as connection:
        connection.execute(half)
    assert "timeline_key" not in indexes(leader)
    open_server(url).dispose()
    assert "timeline_key" in indexes(leader)


def test_migration__while_another_process_is_at_it__is_to_be_tried_later(
    url: SecretUrl, leader: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_LOOKS", 2)
    older(url, "0006")
    with unhurried(leader) as another:
        migrating._take_turn(another)
        with pytest.raises(RetryLater, match="another process brings"):
            open_server(url)
        assert version(leader) == "0006"


def test_lines__whose_unique_index_somebody_dropped__wait_for_it(
    url: SecretUrl, leader: sa.Engine
) -> None:
    """They were dropped, one by one, as if each were wrong."""
    journal = Journal(open_server(url))
    with changing(leader, "x") as connection:
        connection.execute(sa.text("DROP INDEX timeline_key"))
    journal.event(Event(1.0, "a"))
    assert not journal.flush()
    assert "ON CONFLICT" in journal.degraded
    older(url, "0006")
    open_server(url).dispose()
    assert journal.flush()
    assert [line.at for line in Reader(journal.engine).timeline(None)] == [1.0]
    journal.close()


def test_lease__on_a_server_that_forgot_a_migration__brings_it_up_to_date_and_leads(
    url: SecretUrl, leader: sa.Engine
) -> None:
    """A copy that followed too late leads the database now."""
    taken, up = threading.Event(), partial(bring_up_to_date, url)
    lease = ServerLease(leader, "n", Member("a", "1", "d"), LeaseRules(), bring_up=up)
    lease.taken = taken.set
    older(url, "0005")
    with capture_logs() as said:
        lease.start()
        assert taken.wait(20.0)
        lease.release()
    assert version(leader) == SCHEMA
    assert [one["event"] for one in said] == [
        "lease.server_away", "lease.taken", "lease.given_back",
    ]  # fmt: skip
    assert 'column "process"' in said[0]["error"]


def test_lease__where_the_journal_is_gone__makes_no_new_one(
    url: SecretUrl, leader: sa.Engine
) -> None:
    """Behind another search_path, say: an empty journal would forget what it owes."""
    lease = ServerLease(leader, "n", Member("a", "1", "d"), LeaseRules())
    with leader.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA elsewhere"))
        for table in ("leases", "alembic_version"):
            connection.execute(sa.text(f"ALTER TABLE {table} SET SCHEMA elsewhere"))
    bring_up_to_date(url)
    with pytest.raises(BehindSchema, match='"leases" does not exist'):
        lease.turn()
