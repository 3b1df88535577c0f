"""What happens to the host that leads, and what ends it: one row each.

Most strike at once. Some wait for the moment that they are about: a launch or a transaction that is
just being made, a database that has no room left.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from web3 import Web3

from devnet import several
from devnet.database import AGAIN
from tests.commands.program import in_its_dialect
from tests.failover.full_disk import full
from tests.failover.pair import PATIENCE, Pair


@dataclass(frozen=True)
class Strike:
    """One row of the table: what happens to the host, and what ends it.

    `strikes` returns the monotonic second from which the next launch is timed; None: it was called
    in that one.
    """

    strikes: Callable[[Pair, str], float | None]
    ends: Callable[[Pair, str], None] = lambda pair, host: None
    leader_stays: bool = False  # the same host may go on
    timed: bool = True  # whether it is a failover
    late: bool = False  # its calls may have left: what is timed is until another leads


def _killed(pair: Pair, host: str) -> None:
    pair.act(several.kill, host)


def _on_again(pair: Pair, host: str) -> None:
    pair.act(several.start, host)


def _frozen(pair: Pair, host: str) -> None:
    pair.act(several.freeze, host)


def _thawed(pair: Pair, host: str) -> None:
    """After twice the lease at least: by then another leads, and did what was due."""
    time.sleep(pair.lease_seconds)
    pair.act(several.thaw, host)


def _cut(pair: Pair, host: str) -> None:
    pair.act(several.cut, host)


def _healed(pair: Pair, host: str) -> None:
    pair.act(several.heal, host)


def _closed(pair: Pair, host: str) -> None:
    os.kill(pair.child(f"relay-{host}"), signal.SIGUSR1)


def _opened(pair: Pair, host: str) -> None:
    os.kill(pair.child(f"relay-{host}"), signal.SIGUSR2)


def _database_crashes(pair: Pair, _host: str) -> None:
    """While a commit of the leader waits for a lock, so that it is cut in two."""
    with suppress(sa.exc.OperationalError), pair.engine.connect() as held:
        held.execute(sa.text("LOCK TABLE timeline, transactions IN EXCLUSIVE MODE"))
        _until_waiting(held)
        os.kill(pair.child("database"), AGAIN)
        held.execute(sa.text("SELECT pg_sleep(10)"))


def _until_waiting(connection: sa.Connection) -> None:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    until = time.monotonic() + 2.0
    while time.monotonic() < until and not connection.scalar(sa.text(waits)):
        time.sleep(0.02)


def _yields(pair: Pair, _host: str) -> None:
    told = pair.scene.provider.ask("hosts", "yield")
    in_its_dialect(["hosts", "yield", "--json"], json.dumps(told))


def _far_and_killed(pair: Pair, host: str) -> float:
    """Each round trip to the database takes 20 ms more, and then the machine is off. Before that
    the page answers as ever: nothing of the agent's loop waits for the database."""
    _stretched(pair, host)
    for _ in range(5):
        asked_at = time.monotonic()
        pair.page(host, "/healthz")
        pair.seen["page, seconds, database 20 ms away"].append(time.monotonic() - asked_at)
    struck = time.monotonic()
    _killed(pair, host)
    return struck


def _stretched(pair: Pair, _host: str) -> None:
    for name in pair.scene.eyes.devnet.hosts:
        os.kill(pair.child(f"relay-{name}"), signal.SIGHUP)


def _near_and_on_again(pair: Pair, host: str) -> None:
    _stretched(pair, host)
    _on_again(pair, host)


def _disk_fills(pair: Pair, host: str) -> None:
    """For twice the lease: the agent says so, enclaves stay, nothing is bought, sent or ended, not
    for a job that comes then either; it is served once there is room."""
    with full(pair.engine):
        pair.scene.eyes.until(
            "the agent's word that the journal can't be written",
            lambda: "the journal can't be written" in pair.page(host, "/readyz"),
            PATIENCE,
        )
        before, third = _of_the_world(pair), pair.requested()
        time.sleep(2 * pair.lease_seconds)
        assert _of_the_world(pair) == before
        assert pair.leader() == host
    room_at = time.monotonic()
    pair.scene.launched(third)
    pair.seen["seconds from room on the disk to a launch"].append(time.monotonic() - room_at)
    pair.scene.started(third)
    pair.stopped(third)


def _of_the_world(pair: Pair) -> tuple[object, ...]:
    """Instances and whether they live, and how many transactions this provider sent."""
    eyes = pair.scene.eyes
    provider = Web3.to_checksum_address(eyes.devnet.person("provider").address)
    sent = eyes.market.w3.eth.get_transaction_count(provider)
    return {(one.id, one.live) for one in eyes.instances()}, sent


def _frozen_as_it_launches(pair: Pair, host: str) -> float:
    """Between the intent and the answer, wherever that call is by now."""
    return _frozen_at_the_next_row_of("launches", pair, host)


def _frozen_as_it_sends(pair: Pair, host: str) -> float:
    return _frozen_at_the_next_row_of("transactions", pair, host)


def _frozen_at_the_next_row_of(table: str, pair: Pair, host: str) -> float:
    count, agent = sa.text(f"SELECT count(*) FROM {table}"), pair.agent(host)
    until = time.monotonic() + PATIENCE
    with pair.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = connection.scalar(count)
        while connection.scalar(count) == before:
            assert time.monotonic() < until, f"no row of {table} came"
    os.kill(agent, signal.SIGSTOP)
    return time.monotonic()


def _told_to_end(pair: Pair, host: str) -> None:
    os.kill(pair.agent(host), signal.SIGTERM)


# Section 8 of the design as what is done to the host that leads. Both hosts' clocks are apart in
# all of them.
TABLE: Mapping[str, Strike] = {
    "killed": Strike(_killed, _on_again),
    "frozen, then on": Strike(_frozen, _thawed),
    "cut off": Strike(_cut, _healed),
    "connections closed": Strike(_closed, _opened),
    "database crashes in a commit": Strike(_database_crashes, leader_stays=True),
    "database's disk full": Strike(_disk_fills, leader_stays=True, timed=False),
    "killed, database 20 ms away": Strike(_far_and_killed, _near_and_on_again),
    "frozen as it launches": Strike(_frozen_as_it_launches, _thawed, late=True),
    "frozen as it sends": Strike(_frozen_as_it_sends, _thawed, late=True),
    "yields": Strike(_yields),
    "told to end": Strike(_told_to_end),
}
