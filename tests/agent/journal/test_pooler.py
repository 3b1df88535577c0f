"""The journal behind a real pgbouncer, which gives each transaction another backend."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from agent.journal.engines import asking, changing, open_server
from agent.journal.hosts import LeaseRules, Member
from agent.journal.lease import ServerLease
from agent.secret import SecretUrl
from faults import MustStop, RetryLater
from tests import pooler
from tests.postgres import Server

pytestmark = pytest.mark.integration

SLOW = sa.text("SELECT pg_sleep(1.0)")
RULES = LeaseRules(seconds=1.0, renew_seconds=0.2, poll_seconds=0.1, margin_seconds=0.2)


@pytest.fixture
def url(server: Server) -> Iterator[SecretUrl]:
    """Of a database whose clients all share one backend."""
    direct = server.database()
    open_server(direct).dispose()
    with pooler.made(server, backends=1) as port:
        yield server.url(direct.reveal().rpartition("/")[2], port)


def shown(connection: sa.Connection, name: str) -> str:
    return str(connection.scalar(sa.text(f"SHOW {name}")))


def test_limits__of_one_engine__are_not_another_s(url: SecretUrl) -> None:
    """A history of years was ended as soon as a look at the lease is, and the other way round."""
    history, looks = open_server(url, 60_000), open_server(url, 300)
    for _ in range(2):
        with pytest.raises(RetryLater), asking(looks) as connection:
            connection.execute(SLOW)
        with asking(history) as connection:
            connection.execute(SLOW)
        with changing(history, "x") as connection:
            connection.execute(SLOW)
    for each in (history, looks):
        each.dispose()


def test_limits__once_a_transaction_is_over__are_nobody_s(url: SecretUrl) -> None:
    """Other programs share these backends, too."""
    engine = open_server(url, 300)
    with changing(engine, "x") as connection:
        assert shown(connection, "statement_timeout") == "300ms"
        assert shown(connection, "lock_timeout") == "300ms"
        assert shown(connection, "idle_in_transaction_session_timeout") == "1s"
    engine.dispose()
    stranger = sa.create_engine(url.reveal())
    with stranger.connect() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert shown(connection, name) == "0"
    stranger.dispose()


def test_take__while_a_frozen_host_s_transaction_holds_the_row__does_not_wait_for_ever(
    server: Server,
) -> None:
    """Whatever the role's own settings are."""
    with pooler.made(server) as port:
        url = server.url(server.database().reveal().rpartition("/")[2], port)
        engines = frozen, engine = open_server(url, 2_000), open_server(url, 2_000)
        one, two = (
            ServerLease(each, "n", Member(name, "1", "d"), RULES, clock=lambda: 0.0)
            for each, name in zip(engines, "ab", strict=True)
        )
        one.turn()
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE leases SET until = clock_timestamp() - interval '1 s'")
            )
        connection = frozen.connect()
        one.fence(connection)
        two.turn()
        assert two.held()
        with pytest.raises(sa.exc.DBAPIError):
            connection.commit()
        connection.close()
        for each in engines:
            each.dispose()


def test_pooler__that_gives_each_statement_another_backend__is_refused_with_a_word(
    server: Server,
) -> None:
    with pooler.made(server, mode="statement") as port:
        url = server.url(server.database().reveal().rpartition("/")[2], port)
        with pytest.raises(MustStop, match="statement pooling"):
            open_server(url)


def test_pooler__whose_server_is_away__is_to_be_asked_later(server: Server) -> None:
    with pooler.made(server) as port:
        url = server.url(server.database().reveal().rpartition("/")[2], port)
        engine = open_server(url)
        server.stop()
        try:
            with pytest.raises(RetryLater), asking(engine) as connection:
                connection.execute(sa.text("SELECT 1"))
        finally:
            server.start()
        for _ in range(200):
            with suppress(RetryLater), asking(engine) as connection:
                assert connection.scalar(sa.text("SELECT 1")) == 1
                break
            time.sleep(0.1)
        else:
            pytest.fail("it never came back")
        engine.dispose()
