"""Several hosts and one order: it is sent to one spot, whoever sends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from agent.journal.engines import open_server
from agent.journal.hosts import Alone
from agent.journal.spots import SharedSpots
from cloud.ec2.spots import KEEP_SECONDS, Spot
from cloud.model import Zone
from faults import Fenced, RetryLater
from tests.agent.journal.test_lease import expire, lease
from tests.cloud.conftest import order
from tests.postgres import Server

pytestmark = pytest.mark.integration

HERE = Spot(Zone("us-east-1a"), "subnet-1", "ami-1", "/dev/xvda", 8)
THERE = replace(HERE, zone=Zone("us-east-1b"), subnet="subnet-2")


@pytest.fixture
def engine(server: Server) -> Iterator[sa.Engine]:
    engine = open_server(server.database(), 1_000)
    yield engine
    engine.dispose()


def test_spot__noted_by_one__is_recalled_by_the_next_who_leads(engine: sa.Engine) -> None:
    one, two = SharedSpots(engine, Alone()), SharedSpots(engine, Alone())
    assert two.recall(order()) is None
    one.note(order(), HERE, 1.0)
    one.note(order(), HERE, 2.0)  # the same again
    assert two.recall(order()) == HERE


def test_spot__another_than_the_first__is_not_noted_and_nothing_is_sent(engine: sa.Engine) -> None:
    one, two = SharedSpots(engine, Alone()), SharedSpots(engine, Alone())
    one.note(order(), HERE, 1.0)
    with pytest.raises(RetryLater, match="elsewhere"):
        two.note(order(), THERE, 1.0)
    assert two.recall(order()) == HERE


def test_refused__at_one_spot__leaves_a_note_of_another(engine: sa.Engine) -> None:
    spots = SharedSpots(engine, Alone())
    spots.note(order(), HERE, 1.0)
    spots.refused(order(), THERE)
    assert spots.recall(order()) == HERE
    spots.refused(order(), HERE)
    assert spots.recall(order()) is None
    spots.note(order(), THERE, 2.0)
    assert spots.recall(order()) == THERE


def test_note__by_a_host_that_led__is_fenced(engine: sa.Engine) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    one.turn()
    expire(engine)
    two.turn()
    with pytest.raises(Fenced):
        SharedSpots(engine, one).note(order(), HERE, 1.0)
    with pytest.raises(Fenced):
        SharedSpots(engine, one).refused(order(), HERE)
    SharedSpots(engine, two).note(order(), HERE, 1.0)


def test_note__the_server_is_away__is_to_be_tried_later(server: Server) -> None:
    engine = open_server(server.database(), 500)
    spots = SharedSpots(engine, Alone())
    try:
        server.stop()
        with pytest.raises(RetryLater, match="can't be noted"):
            spots.note(order(), HERE, 1.0)
        with pytest.raises(RetryLater):
            spots.recall(order())
    finally:
        server.start()
    engine.dispose()


def test_prune__by_who_leads__drops_what_is_old_with_a_later_note(engine: sa.Engine) -> None:
    one, two = lease(engine, "a"), lease(engine, "b")
    one.turn()
    SharedSpots(engine, one).note(order(), HERE, 1.0)
    with pytest.raises(Fenced):  # a standby drops nothing
        SharedSpots(engine, two).note(order(job=8), HERE, KEEP_SECONDS + 2.0)
    assert SharedSpots(engine, one).recall(order()) == HERE
    SharedSpots(engine, one).note(order(job=8), HERE, KEEP_SECONDS)
    assert SharedSpots(engine, one).recall(order()) == HERE  # young enough
    SharedSpots(engine, one).note(order(job=9), HERE, KEEP_SECONDS + 2.0)
    assert SharedSpots(engine, one).recall(order()) is None
    assert SharedSpots(engine, one).recall(order(job=9)) == HERE
