"""A journal moves from a file to a server: all of it, once, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agent.chain.transaction_log import TxStatus
from agent.journal.copying import ROWS_AT_ONCE, TABLES, copy
from agent.journal.engines import open_file, open_server
from agent.journal.in_use import alone, used
from agent.journal.lines import Event
from agent.journal.orders import OrderKind, Orders
from agent.journal.reading import Reader
from agent.journal.spots import SharedSpots
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal
from agent.market.model import JobId
from agent.secret import SecretUrl
from cloud.ec2.spots import LaunchMemory, Spot
from cloud.model import Zone
from faults import Refused, RetryLater
from tests.agent.journal.test_both_engines import LARGEST, launch
from tests.agent.journal.test_journal import record
from tests.agent.journal.test_lease import lease
from tests.cloud.conftest import order
from tests.postgres import Server

pytestmark = pytest.mark.integration

ONE = JobId(1)
SPOT = Spot(Zone("us-east-1a"), "subnet-1", "ami-1", "/dev/xvda", 8)
LINES = ROWS_AT_ONCE + 7


@pytest.fixture
def url(server: Server) -> SecretUrl:
    return server.database()


@pytest.fixture
def target(url: SecretUrl) -> Iterator[sa.Engine]:
    engine = open_server(url)
    yield engine
    engine.dispose()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sa.Engine]:
    """Of an agent that ran for a while."""
    engine = open_file(tmp_path / "journal.sqlite")
    journal = Journal(engine)
    for number in range(LINES):
        journal.event(Event(float(number), "job.assigned", ONE, LARGEST, fields={"n": number}))
    journal.launch(launch(3))
    assert journal.flush()
    TxJournal(engine).add(record("a"))
    TxJournal(engine).add(replace(record("b", 2), status=TxStatus.LOST, final=True))
    for number in range(3):
        Orders(engine).place(float(number), OrderKind.EXIT, ONE, "me")
    yield engine
    engine.dispose()


@pytest.fixture
def sent(tmp_path: Path) -> list[dict[str, Any]]:
    memory = LaunchMemory.within(tmp_path)
    memory.note(order(), SPOT, 5.0)
    (tmp_path / "launches" / "broken.json").write_text("{")
    return memory.rows()


def _rows(engine: sa.Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            table.name: list(connection.execute(sa.select(table).order_by(*table.primary_key)))
            for table in TABLES
        }


def test_copy__of_a_journal__is_the_same_rows_and_goes_on_counting(
    source: sa.Engine, target: sa.Engine, sent: list[dict[str, Any]]
) -> None:
    copied = copy(source, target, sent)
    assert copied == {"timeline": LINES, "launches": 1, "orders": 3, "transactions": 2, "spots": 1}
    assert _rows(target) == _rows(source)
    assert Orders(target).place(9.0, OrderKind.EXIT, ONE, "me") == 4
    one = lease(target, "a")
    one.turn()
    assert SharedSpots(target, one).recall(order()) == SPOT
    with pytest.raises(RetryLater, match="taken"):
        TxJournal(target, one).add(record("c"))  # its nonce is a copied one's


def test_copy__of_an_empty_journal__is_empty_and_counts_from_one(
    target: sa.Engine, tmp_path: Path
) -> None:
    empty = open_file(tmp_path / "empty.sqlite")
    assert set(copy(empty, target, []).values()) == {0}
    assert Orders(target).place(1.0, OrderKind.EXIT, ONE, "me") == 1
    empty.dispose()


def test_copy__into_a_server_with_rows__is_refused(source: sa.Engine, target: sa.Engine) -> None:
    copy(source, target, [])
    with pytest.raises(Refused, match="not empty"):
        copy(source, target, [])
    assert len(Reader(target).timeline(ONE, 5_000)) == LINES


def test_copy__while_a_host_leads_with_the_server__is_refused(
    source: sa.Engine, target: sa.Engine
) -> None:
    lease(target, "b").turn()
    with pytest.raises(Refused, match="host b leads"):
        copy(source, target, [])


def test_copy__cut_short__leaves_nothing_and_is_begun_again(
    source: sa.Engine, target: sa.Engine, url: SecretUrl
) -> None:
    """The server ends the connection before the last table is written."""
    breaker = sa.create_engine(url.reveal(), isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(target, "before_cursor_execute")
    def cut(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO transactions" in statement:
            with breaker.connect() as other:
                other.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )

    with pytest.raises(RetryLater, match="can't be copied"):
        copy(source, target, [])
    sa.event.remove(target, "before_cursor_execute", cut)
    assert all(not rows for rows in _rows(target).values())
    copy(source, target, [])
    assert _rows(target) == _rows(source)
    breaker.dispose()


def test_folder__an_agent_uses__is_nobodys_alone_and_the_other_way_round(tmp_path: Path) -> None:
    another = pytest.raises(Refused, match="an agent runs")
    with used(tmp_path), another, alone(tmp_path):
        pass
    with used(tmp_path), pytest.raises(RetryLater, match="another agent"), used(tmp_path):
        pass
    with alone(tmp_path), pytest.raises(RetryLater, match="to itself"), used(tmp_path):
        pass
