"""Two hosts with one name: told by what each of them finds written under it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from agent.journal import hosts
from agent.journal.engines import open_server
from agent.journal.hosts import Hosts, LeaseRules, Member
from agent.journal.lease import ServerLease
from tests.postgres import Server

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(server: Server) -> Iterator[sa.Engine]:
    engine = open_server(server.database())
    yield engine
    engine.dispose()


def lease(engine: sa.Engine, host: str) -> ServerLease:
    return ServerLease(engine, "n", Member(host, "1.0", "d1"), LeaseRules(), lambda: 0.0)


def twins(engine: sa.Engine) -> list[bool]:
    return [each.twin for each in Hosts(engine).standings()]


def test_name__that_two_hosts_have__is_told_and_forgotten_once_one_is_renamed(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were one row, told as leading or standing by, whoever wrote last."""
    one, two = lease(engine, "a"), lease(engine, "a")
    one.turn()
    two.turn()
    assert (one.held(), two.held(), twins(engine)) == (True, False, [False])
    with capture_logs() as said:
        for _ in range(3):
            one.turn()
            two.turn()
    assert twins(engine) == [True]
    assert [line["host"] for line in said if line["event"] == "lease.same_name"] == ["a", "a"]
    monkeypatch.setattr(hosts, "TWIN_SECONDS", 0.0)
    one.turn()  # the last that two wrote is found once more
    one.turn()
    assert twins(engine) == [False]


def test_name__of_a_host_that_was_killed_and_is_back__has_no_twin(engine: sa.Engine) -> None:
    one = lease(engine, "a")
    for _ in range(2):
        one.turn()
    again = lease(engine, "a")
    for _ in range(2):
        again.turn()
    assert twins(engine) == [False]


def test_name__that_a_database_s_restore_brought_back__has_no_twin(engine: sa.Engine) -> None:
    """What a life before wrote stands there again."""
    one = lease(engine, "a")
    one.turn()
    with engine.begin() as connection:
        back = "UPDATE members SET seen = clock_timestamp() - interval '1 hour', process = 'b'"
        connection.execute(sa.text(back))
    one.turn()
    assert twins(engine) == [False]


def test_name__with_a_twin_in_a_future_that_the_clock_left__has_none(engine: sa.Engine) -> None:
    one = lease(engine, "a")
    one.turn()
    with engine.begin() as connection:
        ahead = "UPDATE members SET twin_seen = clock_timestamp() + interval '1 hour'"
        connection.execute(sa.text(ahead))
    one.turn()
    assert twins(engine) == [False]


def test_name__written_by_an_older_version__is_no_twin_s(engine: sa.Engine) -> None:
    """It leaves the column of the process as it is."""
    one = lease(engine, "a")
    one.turn()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE members SET seen = clock_timestamp(), process = NULL"))
    one.turn()
    assert twins(engine) == [False]
