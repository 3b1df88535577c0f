"""The lease on a real PostgreSQL: taken, held, given back, lost, and the fence in each write."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from agent.journal import engines, hosts
from agent.journal.engines import asking, changing, open_server
from agent.journal.hosts import Hosts, LeaseRules, Member, Role
from agent.journal.lease import ServerLease
from agent.journal.lines import PAID, Event
from agent.journal.migrating import is_current
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.market.model import JobId
from agent.secret import SecretUrl
from faults import Fenced, RetryLater
from tests.postgres import Server

pytestmark = pytest.mark.integration

RULES = LeaseRules(seconds=1.0, renew_seconds=0.2, poll_seconds=0.1, margin_seconds=0.2)
NAME = "31337:0xregistry:0xprovider"


class Clock:
    """A boot clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(server: Server) -> SecretUrl:
    return server.database()


@pytest.fixture
def engine(url: SecretUrl) -> Iterator[sa.Engine]:
    engine = open_server(url, 1_000)
    yield engine
    engine.dispose()


def lease(engine: sa.Engine, host: str, clock: Clock | None = None) -> ServerLease:
    return ServerLease(engine, NAME, Member(host, "1.0", "d1"), RULES, clock or Clock())


def roles(engine: sa.Engine) -> dict[str, Role]:
    return {each.member.host: each.role for each in Hosts(engine).standings()}


def expire(engine: sa.Engine) -> None:
    """As if its time had passed."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE leases SET until = clock_timestamp() - interval '1 s'"))


def test_lease__free__is_taken_by_one_and_the_other_stands_by(engine: sa.Engine) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    assert one.turn()
    assert two.turn()
    assert (one.held(), two.held()) == (True, False)
    assert roles(engine) == {"a": Role.LEADS, "b": Role.STANDS_BY}
    leading = Hosts(engine).leading(NAME)
    assert leading is not None
    assert (leading.holder, leading.term, leading.runs) == ("a", 1, True)


def test_gate__by_the_boot_clock__shuts_before_anybody_else_may_take(engine: sa.Engine) -> None:
    clock = Clock()
    one = lease(engine, "a", clock)
    one.turn()
    clock.now = RULES.seconds - RULES.margin_seconds - 0.001
    assert one.held()
    clock.now += 0.001
    assert not one.held()
    one.turn()  # nobody led in between
    assert one.held()


def test_lease__run_out_and_taken_by_another__is_lost_for_good(engine: sa.Engine) -> None:
    one, two, told = lease(engine, "a"), lease(engine, "b"), list[str]()
    one.lost = lambda: told.append("a lost it")
    two.taken = lambda: told.append("b took it")
    one.turn()
    expire(engine)
    two.turn()
    assert not one.turn()
    assert not one.held()
    assert told == ["b took it", "a lost it"]
    assert roles(engine) == {"a": Role.ENDS, "b": Role.LEADS}  # a stands by when it is started
    assert two.term is not None
    assert two.term.number == 2


def test_configured__anew__is_what_others_hear_at_the_next_look(engine: sa.Engine) -> None:
    one = lease(engine, "a")
    one.turn()
    one.configured("d2")
    one.turn()
    assert [each.member.config_digest for each in Hosts(engine).standings()] == ["d2"]


def test_lease__given_back__is_taken_at_the_next_look(engine: sa.Engine) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    one.turn()
    one.release()
    assert not one.held()
    two.turn()
    assert two.held()
    two.release()
    assert roles(engine) == {"a": Role.ENDS, "b": Role.ENDS}
    with engine.begin() as connection:  # a word of a version to come
        connection.execute(sa.text("UPDATE members SET role = 'rests' WHERE host = 'a'"))
    assert roles(engine)["a"] is Role.STANDS_BY


def test_fence__of_a_host_that_was_frozen_past_its_lease__refuses_its_write(
    engine: sa.Engine,
) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    one.turn()
    with engine.begin() as connection:
        one.fence(connection)  # still its own
    expire(engine)
    two.turn()
    with pytest.raises(Fenced, match="another host leads"), engine.begin() as connection:
        one.fence(connection)
    with engine.begin() as connection:
        two.fence(connection)


def test_fence__of_a_host_that_never_led__refuses(engine: sa.Engine) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    one.turn()
    two.turn()
    with pytest.raises(Fenced), engine.begin() as connection:
        two.fence(connection)


def test_fence__in_a_transaction_that_is_open__makes_the_taker_wait_for_its_end(
    engine: sa.Engine,
) -> None:
    one, two, order = lease(engine, "a"), lease(engine, "b"), list[str]()
    one.turn()
    expire(engine)
    with engine.begin() as connection:
        one.fence(connection)
        two.taken = lambda: order.append("taken")
        taker = threading.Thread(target=two.turn)
        taker.start()
        _until_waiting(engine)
        order.append("committed")
    taker.join()
    assert order == ["committed", "taken"]


@pytest.mark.parametrize("write", ["fence", "renewal"])
def test_take__while_a_hung_host_s_transaction_holds_the_row__does_not_wait_for_ever(
    url: SecretUrl, write: str
) -> None:
    """Frozen, or cut off, after its statement and before its commit: it never says another word."""
    hung, engine = open_server(url, 2_000), open_server(url, 2_000)
    one, two = lease(hung, "a"), lease(engine, "b")
    one.turn()
    expire(engine)
    connection = hung.connect()
    if write == "fence":
        one.fence(connection)
    else:
        assert one.term is not None
        hosts.renew(connection, NAME, one.term.token, -1.0)
    two.turn()
    assert two.held()
    with pytest.raises(sa.exc.DBAPIError):
        connection.commit()
    connection.close()
    for each in (hung, engine):
        each.dispose()


@pytest.mark.parametrize("leads", [True, False])
def test_line__heard_by_a_host_that_stands_by__is_kept_by_who_leads_alone(
    url: SecretUrl, engine: sa.Engine, leads: bool
) -> None:
    """Both hear of a settlement; when the other took over, it was in the journal twice, and what
    was earned was counted twice."""
    one = lease(engine, "a")
    journal = Journal(open_server(url), one)
    if leads:
        one.turn()
    journal.event(Event(1.0, PAID, JobId(1)))
    one.turn()
    journal.flush()
    assert len(Reader(engine).named(PAID)) == int(leads)
    journal.close()


def test_journal__closed_with_lines_after_the_lease_was_given_back__ends_as_any_other(
    url: SecretUrl, engine: sa.Engine
) -> None:
    """The server took the last ones too slowly: no exit code 75, and no connection left open."""
    one = lease(engine, "a")
    one.turn()
    journal = Journal(open_server(url), one)
    journal.event(Event(1.0, PAID, JobId(1)))
    one.release()
    journal.close()
    assert Reader(engine).named(PAID) == []


def test_renewal__while_this_host_writes_without_a_pause__goes_before_what_comes_after_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three writers that overlap kept it waiting for 1.7 of the 2 seconds that it has."""
    one, passed_it = lease(engine, "a"), list[bool]()
    one.turn()
    renew, through = hosts.renew, threading.Event()

    def write() -> None:
        with engine.begin() as connection:
            one.fence(connection)
            through.set()

    def renewed(*words: Any) -> bool:
        writer.start()
        passed_it.append(through.wait(0.2))
        return renew(*words)

    monkeypatch.setattr(hosts, "renew", renewed)
    writer = threading.Thread(target=write)
    assert one.turn()
    writer.join()
    assert passed_it == [False]
    assert through.is_set()


def _until_waiting(engine: sa.Engine) -> None:
    """The taker's update waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for _ in range(10_000):
        with engine.connect() as connection:
            if connection.scalar(sa.text(waiting)):
                return
    raise AssertionError("nobody waited")


def test_thread__the_server_restarts__the_same_term_goes_on(server: Server) -> None:
    engine = open_server(server.database(), 1_000)
    one = ServerLease(
        engine, NAME, Member("a", "1.0", "d1"), LeaseRules(seconds=30.0, renew_seconds=0.05)
    )
    taken = threading.Event()
    one.taken = taken.set
    one.start()
    try:
        assert taken.wait(20)
        server.stop()
        _until(lambda: bool(one.away))
        assert one.held()  # its time runs on
    finally:
        server.start()
    _until(lambda: not one.away)
    assert one.term is not None
    assert one.term.number == 1
    one.release()
    engine.dispose()


def _until(holds: object) -> None:
    assert callable(holds)
    event = threading.Event()
    for _ in range(600):
        if holds():
            return
        event.wait(0.05)
    raise AssertionError("it never came")


def test_statements__as_the_design_says__are_one_each(engine: sa.Engine) -> None:
    """Taking is a compare and swap: two that find it free at once can't both have it."""
    with engine.begin() as connection:
        hosts.make_row(connection, NAME)
    barrier, got = threading.Barrier(8), list[object]()

    def take(host: str) -> None:
        barrier.wait()
        with engine.begin() as connection:
            got.append(hosts.take(connection, NAME, host, 4.0))

    threads = [threading.Thread(target=take, args=(f"h{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in got if one is not None]) == 1


def test_backend__that_stands_still__is_left_for_another_by_who_looks_at_the_lease(
    engine: sa.Engine,
) -> None:
    """Its machine acknowledges what is sent and no answer comes, which no socket tells."""
    one = lease(engine, "a")
    one.turn()
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with stopped(pid):
        assert one.turn()
    assert one.held()


def test_backend__that_stands_still_between_two_statements__is_as_one_that_is_away(
    engine: sa.Engine,
) -> None:
    with asking(engine) as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with (
        pytest.raises(RetryLater, match="no answer within 3 s"),
        changing(engine, "x") as connection,
        stopped(pid),
    ):
        connection.execute(sa.text("SELECT 1"))
    with asking(engine) as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) != pid


def test_backend__that_stands_still_as_a_host_starts__is_as_one_that_is_away(
    url: SecretUrl, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour is for what brings the schema up to date, and not for the look whether it is."""

    def look(connection: sa.Connection) -> bool:
        with stopped(connection.scalar(sa.text("SELECT pg_backend_pid()"))):
            return is_current(connection)

    monkeypatch.setattr(engines, "is_current", look)
    with pytest.raises(RetryLater, match="no answer within 2 s"):
        open_server(url, 200)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
