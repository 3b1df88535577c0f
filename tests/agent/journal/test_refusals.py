"""No word of a database that is away, damaged or read-only reaches anybody as the driver's own."""

from __future__ import annotations

import ast
import asyncio
import inspect
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from structlog.testing import capture_logs

from agent.journal import engines, hosts, lease, orders, reading, spots, transactions, writing
from agent.journal.engines import open_file, open_server
from agent.journal.hosts import Alone, Hosts, LeaseRules, Member
from agent.journal.lease import ServerLease
from agent.journal.lines import Event
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.journal.refusals import BehindSchema, Refusal, as_fault, at_the_door, of_whom
from agent.journal.spots import SharedSpots
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal
from agent.market.model import JobId
from agent.secret import SecretUrl
from cloud.ec2.spots import Spot
from cloud.model import Zone
from faults import Fenced, MustStop, RetryLater
from tests.agent.journal.test_journal import record
from tests.cloud.conftest import order
from tests.postgres import SCHEMES, Server

pytestmark = pytest.mark.integration

ONE = JobId(1)
SPOT = Spot(Zone("us-east-1a"), "subnet-1", "ami-1", "/dev/xvda", 8)
Act = Callable[[sa.Engine], object]


def _lease(engine: sa.Engine) -> ServerLease:
    return ServerLease(engine, "name", Member("a", "1", "d"), LeaseRules())


# Every public method of the journal that asks the database; the test below finds those left out.
ACTS: dict[str, Act] = {
    "Reader.timeline": lambda e: Reader(e).timeline(ONE),
    "Reader.jobs": lambda e: Reader(e).jobs(),
    "Reader.ended": lambda e: Reader(e).ended(),
    "Reader.last": lambda e: Reader(e).last("job.assigned"),
    "Reader.newest": lambda e: Reader(e).newest(),
    "Reader.youngest": lambda e: Reader(e).youngest("job.assigned", ONE, 10),
    "Reader.named": lambda e: Reader(e).named("job.assigned"),
    "Reader.assigned": lambda e: Reader(e).assigned(),
    "Reader.newest_own": lambda e: Reader(e).newest_own("offer.listed"),
    "Reader.own": lambda e: Reader(e).own("offer.listed"),
    "Reader.launches": lambda e: Reader(e).launches([ONE]),
    "Reader.launches_outside": lambda e: Reader(e).launches_outside(["us-east-1"]),
    "Reader.told_after": lambda e: Reader(e).told_after(0, ["job.assigned"], 10),
    "Reader.launched_after": lambda e: Reader(e).launched_after(0, 10),
    "Orders.after": lambda e: Orders(e).after(0, [1]),
    "Orders.last": lambda e: Orders(e).last(),
    "Orders.place": lambda e: Orders(e).place(1.0, "exit", ONE, "me"),
    "TxJournal.add": lambda e: TxJournal(e).add(record("a")),
    "TxJournal.change": lambda e: TxJournal(e).change(record("a")),
    "TxJournal.latest": lambda e: TxJournal(e).latest("a"),
    "TxJournal.unfinished": lambda e: TxJournal(e).unfinished(),
    "TxJournal.nonces": lambda e: TxJournal(e).nonces(0),
    "TxJournal.highest": lambda e: TxJournal(e).highest(),
    "TxJournal.worst_fees": lambda e: TxJournal(e).worst_fees(),
    "TxJournal.worst_fees_by_day": lambda e: TxJournal(e).worst_fees_by_day(),
    "SharedSpots.recall": lambda e: SharedSpots(e, Alone()).recall(order()),
    "SharedSpots.note": lambda e: SharedSpots(e, Alone()).note(order(), SPOT, 1.0),
    "SharedSpots.refused": lambda e: SharedSpots(e, Alone()).refused(order(), SPOT),
    "Hosts.standings": lambda e: Hosts(e).standings(),
    "Hosts.names": lambda e: Hosts(e).names(),
    "Hosts.leading": lambda e: Hosts(e).leading("name"),
    "ServerLease.turn": lambda e: _lease(e).turn(),
}
# What keeps rows, or answers by itself, while the database is away.
KEEPS = {
    "Journal.flush", "Journal.durable", "Journal.flush_soon", "Journal.event", "Journal.launch",
    "Journal.aside", "Journal.announced", "Journal.caught_up", "Journal.close", "ServerLease.held",
    "ServerLease.start", "ServerLease.release", "ServerLease.configured", "ServerLease.is_taken",
}  # fmt: skip
# Takes a connection that somebody opened by `changing`.
WITHIN = {"ServerLease.fence", "Alone.fence", "Alone.held", "Alone.is_taken"}


def test_journal__each_public_method__is_in_the_tables_above() -> None:
    found = set[str]()
    for module in (reading, orders, transactions, spots, hosts, lease, writing):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and _asks(kind):
                methods = inspect.getmembers(kind, inspect.isfunction)
                found |= {f"{name}.{each}" for each, _ in methods if not each.startswith("_")}
    assert found == ACTS.keys() | KEEPS | WITHIN


def _asks(kind: type) -> bool:
    if kind is Alone:
        return True
    made = inspect.getattr_static(kind, "__init__")
    return inspect.isfunction(made) and "engine" in inspect.signature(made).parameters


def test_statements__of_the_journal__all_go_through_engines() -> None:
    """`migrating` is there before there is anybody to tell; its callers translate. `patient` is
    what `engines` has its server's connections made of."""
    for file in Path(engines.__file__).parent.glob("*.py"):
        if file.stem in ("engines", "migrating", "patient"):
            continue
        nodes = ast.walk(ast.parse(file.read_text()))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert not used & {"begin", "connect", "raw_connection"}, file.name


@pytest.fixture(scope="module")
def away() -> Iterator[sa.Engine]:
    """A server's engine whose server is gone: nothing listens there any more."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://oyster@127.0.0.1:{taken.getsockname()[1]}/x"
        engine = sa.create_engine(url, connect_args={"connect_timeout": 2})
        yield engine
        engine.dispose()


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_server__away__is_to_be_asked_later(act: Act, away: sa.Engine) -> None:
    with pytest.raises(RetryLater, match="just now"):
        act(away)


def test_lines__the_server_is_away__are_kept(away: sa.Engine) -> None:
    journal = Journal(away)
    journal.event(Event(1.0, "job.assigned", ONE))
    assert not journal.flush()
    assert "refused" in journal.degraded

    async def waits() -> None:
        await journal.durable()

    asyncio.run(waits())
    assert journal.degraded
    asyncio.run(journal.announced())  # one host with a journal of its own: what it does is its own
    _lease(away).release()  # nothing to give back


def test_lines__of_several_hosts__are_stored_before_what_can_not_be_undone(
    away: sa.Engine,
) -> None:
    """The fence stands before the commit: where nothing is committed, none stood."""
    journal = Journal(away, _lease(away))
    journal.event(Event(1.0, "instance.terminating", ONE))
    with pytest.raises(RetryLater, match="takes nothing"):
        asyncio.run(journal.announced())


class Lost(Alone):
    """A lease that another host has taken."""

    def fence(self, connection: sa.Connection) -> None:
        raise Fenced("another host leads")


def test_lines__behind_a_lease_that_was_lost__end_the_wait_by_a_word_and_not_as_a_bug(
    tmp_path: Path,
) -> None:
    journal = Journal(open_file(tmp_path / "journal.sqlite"), Lost())
    journal.event(Event(1.0, "instance.terminating", ONE))
    with capture_logs() as lines, pytest.raises(Fenced):
        asyncio.run(journal.durable())
    (line,) = lines
    assert (line["event"], line["error"]) == ("journal.stops", "another host leads")
    assert "exc_info" not in line
    journal.engine.dispose()


FILE_ACTS = {
    name: act
    for name, act in ACTS.items()
    if name.partition(".")[0] in ("Reader", "Orders", "TxJournal")
}


@pytest.mark.parametrize("act", FILE_ACTS.values(), ids=FILE_ACTS)
def test_file__damaged_beside_the_agent__stops_it_with_a_word(act: Act, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    open_file(path).dispose()
    path.write_bytes(b"no database" * 2000)
    for beside in tmp_path.glob("journal.sqlite-*"):
        beside.unlink()
    engine = sa.create_engine(f"sqlite:///{path}")
    with pytest.raises(MustStop, match="move"):
        act(engine)
    engine.dispose()


WRITES = ["Orders.place", "TxJournal.add", "SharedSpots.note", "ServerLease.turn"]


def test_server__that_only_reads__is_to_be_asked_later_and_keeps_the_lines(server: Server) -> None:
    """As after a failover to a copy, by a URL that names no target_session_attrs."""
    engine = open_server(server.database())

    @sa.event.listens_for(engine, "begin")
    def only_read(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    for name in WRITES:
        with pytest.raises(RetryLater, match="read-only"):
            ACTS[name](engine)
    journal = Journal(engine)
    journal.event(Event(1.0, "job.assigned", ONE))
    assert not journal.flush()
    assert "read-only" in journal.degraded
    sa.event.remove(engine, "begin", only_read)
    assert journal.flush()
    assert [line.name for line in Reader(engine).timeline(ONE)] == ["job.assigned"]
    engine.dispose()


def _wrapped(kind: type[exc.DBAPIError], error: Exception) -> exc.DBAPIError:
    return kind("a statement", {}, error)


def _state(state: str) -> exc.DBAPIError:
    error = psycopg.errors.lookup(state)(f"of state {state}\nsecond line")
    names = [kind.__name__ for kind in type(error).__mro__]
    wrapper = next(getattr(exc, name) for name in names if name in _WRAPPERS)
    return _wrapped(wrapper, error)


_WRAPPERS = {
    "OperationalError", "InternalError", "InterfaceError", "ProgrammingError", "IntegrityError",
    "DataError", "NotSupportedError", "DatabaseError",
}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_state("57P01"), Refusal.AWAY),  # admin_shutdown
        (_state("57014"), Refusal.AWAY),  # query_canceled: statement_timeout
        (_state("25006"), Refusal.AWAY),  # read_only_sql_transaction
        (_state("25P02"), Refusal.AWAY),  # in_failed_sql_transaction
        (_state("53100"), Refusal.AWAY),  # disk_full
        (_state("53300"), Refusal.AWAY),  # too_many_connections
        (_state("40P01"), Refusal.AWAY),  # deadlock_detected
        (_state("55P03"), Refusal.AWAY),  # lock_not_available
        (_state("42501"), Refusal.AWAY),  # insufficient_privilege
        (_state("42P01"), Refusal.AWAY),  # undefined_table
        (_state("42703"), Refusal.AWAY),  # undefined_column
        (_state("42P10"), Refusal.AWAY),  # no unique index
        (_state("XX001"), Refusal.AWAY),  # data_corrupted: a failover may heal it
        (_state("54000"), Refusal.ROW),  # program_limit_exceeded: an index entry too large
        (_state("22021"), Refusal.ROW),  # character_not_in_repertoire
        (_state("22003"), Refusal.ROW),  # numeric_value_out_of_range
        (_state("23505"), Refusal.ROW),  # unique_violation
        (_state("42804"), Refusal.ROW),  # datatype_mismatch
        (_wrapped(exc.InterfaceError, psycopg.InterfaceError("closed")), Refusal.AWAY),
        (exc.TimeoutError("QueuePool limit"), Refusal.AWAY),
        (_wrapped(exc.OperationalError, sqlite3.OperationalError("locked")), Refusal.AWAY),
        (_wrapped(exc.DatabaseError, sqlite3.DatabaseError("malformed")), Refusal.BROKEN),
        (_wrapped(exc.IntegrityError, sqlite3.IntegrityError("unique")), Refusal.ROW),
        (OverflowError("int too large"), Refusal.ROW),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), Refusal.ROW),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_refusal__by_state_or_class__is_of_whom_it_is(error: Exception, expected: Refusal) -> None:
    assert of_whom(error) is expected
    if isinstance(error, exc.SQLAlchemyError):
        fault = as_fault(error, "what was wanted")
        kinds = {Refusal.AWAY: RetryLater, Refusal.BROKEN: MustStop, Refusal.ROW: type(None)}
        behind = getattr(getattr(error, "orig", None), "sqlstate", "") in ("42P01", "42703")
        assert type(fault) is (BehindSchema if behind else kinds[expected])
        assert "second line" not in str(fault)


def test_url__in_what_is_said__has_no_password() -> None:
    url = SecretUrl("postgresql+psycopg://me:hunter2secret@127.0.0.1:1/x", SCHEMES)
    with pytest.raises(RetryLater) as found:
        open_server(url, 500)
    assert "hunter2secret" not in str(found.value)


def test_server__that_only_read_and_was_left_for_one_that_writes__is_asked_anew(
    server: Server,
) -> None:
    """As a name that led to a copy for a while: the copy lives, and so did the connection to it,
    and no host could take the lease before it was started anew."""
    url = server.database()
    name = url.reveal().rpartition("/")[2]
    open_server(url).dispose()
    admin = sa.create_engine(server.url("postgres").reveal(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        engine = open_server(url)
        held = _lease(engine)
        with pytest.raises(RetryLater, match="read-only"):
            held.turn()
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert held.turn()
    assert held.held()
    for each in (admin, engine):
        each.dispose()


def test_server__with_another_default_of_isolation__is_used_as_the_fence_is_made_for(
    server: Server,
) -> None:
    """By serializable, or repeatable read, each renewal made commits beside it fail."""
    url = server.database()
    name = url.reveal().rpartition("/")[2]
    admin = sa.create_engine(server.url("postgres").reveal(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(
            f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
        )
    engine = open_server(url)
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"
    for each in (admin, engine):
        each.dispose()


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        # As pgbouncer 1.18 and libpq 18 said these to a connection of ours.
        (
            "FATAL:  server login has been failing, try again later (server_login_retry)",
            RetryLater, "is behind a pooler that waits before it tries its server again",
        ),
        ('FATAL:  database "x" does not exist', RetryLater, "takes no connection of ours"),
        ("transaction blocks not allowed in statement pooling mode", MustStop, "behind a pooler"),
        ("connection refused", RetryLater, "does not answer"),
    ],
)  # fmt: skip
def test_door__that_does_not_open__is_told_by_who_keeps_it_shut(
    said: str, kind: type[Exception], told: str
) -> None:
    found = at_the_door("the server", exc.OperationalError("", {}, OSError(said)))
    assert isinstance(found, kind)
    assert told in str(found)
    assert said in str(found)
