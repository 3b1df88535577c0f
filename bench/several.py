"""Two hosts with 10,000 running jobs: what the second one costs, and how soon it goes on.

The same world and the same agent as in `bench.running`, three times in one run: alone on SQLite,
alone on PostgreSQL (Debian's, on loopback), and with a second host standing by. Then the leader is
killed as by kill -9, and in the same moment some users stop their jobs: the other host has to take
the lease, read what the journal says, look at all jobs, and end those.

CPU is each agent's own, at the wall's pace; the database's processes are not in it. Leases of a
region, of which two would lead 20,000 jobs each, are not built (docs/several-hosts.md).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from agent.journal.copying import copy
from agent.journal.engines import open_file, open_server
from agent.journal.hosts import Hosts
from bench.crowd_stage import Stage
from bench.crowd_world import CLOCK
from bench.figure import Figure, NotRun
from bench.running import PATIENCE_SECONDS, decided, on_stage
from devnet import database
from devnet.processes import free_port
from faults import RetryLater

SIZE = 10_000
# Of the agent's seconds: the first cycle of questions to enclaves, and what that put off, is over.
CALM_SECONDS, CALM_SPEED = 480.0, 2.0
WINDOW_SECONDS = 300.0  # of the wall's, at its pace: a resync, in which all jobs are read, in each
WARM_SECONDS = 60.0  # a standby has looked at the fleet, and its start is over
STOPPED = 8  # jobs whose users stop them as the leader is killed
CPU_RATIO, STANDBY_SHARE, STANDBY_MIB, FAILOVER_SECONDS = 1.1, 5.0, 300.0, 10.0


@dataclass(frozen=True)
class Calm:
    """One window: each host's CPU in % of a core, and transactions a second of the database."""

    shares: tuple[float, ...]
    transactions: float = 0.0


@dataclass(frozen=True)
class Failover:
    """Seconds from the kill to the first, and to the last, end of a job that was stopped then; and
    the CPU that the other host spent until that."""

    first: float
    last: float
    cpu: float


def run() -> list[Figure]:
    """Raises NotRun: there is no PostgreSQL here."""
    if database.programs() is None:
        raise NotRun(database.MISSING)
    with ExitStack() as stack:
        alone = stack.enter_context(on_stage(SIZE))
        decided(alone)
        alone.ask("/end-specials")
        calm = _calmed(alone)
        alone.end()
        server = stack.enter_context(database.made(safe=True))
        url = server.database()
        engine = open_server(url)
        stack.callback(engine.dispose)
        file = open_file(alone.directory / "state" / "journal.sqlite")
        copy(file, engine, [])
        file.dispose()
        leader, other = (_host(alone, name, url.reveal()) for name in ("a", "b"))
        leader.start()
        _until_leads(engine, "a")
        _said_all(leader)
        led = _calmed(leader, engine)
        other.start()
        time.sleep(WARM_SECONDS)
        both, peak_mib = _window((leader, other), engine), other.peak_mib()
        failover = _failover(leader, other)
        return list(_figures(calm, led, both, peak_mib, failover))


def _figures(
    calm: Calm, led: Calm, both: Calm, peak_mib: float, failover: Failover
) -> Iterator[Figure]:
    jobs = f"{SIZE} running jobs"
    ratio = led.shares[0] / calm.shares[0]
    yield Figure(
        f"leader's CPU on PostgreSQL, {jobs}", led.shares[0], "% of a core",
        CPU_RATIO * calm.shares[0], ratio, True,
        note=f"with a standby {both.shares[0]:.1f}; on SQLite, same run: {calm.shares[0]:.1f}",
    )  # fmt: skip
    queries = both.transactions - led.transactions
    yield Figure(
        f"standby's CPU, {jobs}", both.shares[1], "% of a core", STANDBY_SHARE, at_most=True,
        note=f"{queries:.1f} transactions a second; the leader alone {led.transactions:.1f}",
    )  # fmt: skip
    yield Figure(f"standby's peak RSS, {jobs}", peak_mib, "MiB", STANDBY_MIB, at_most=True)
    yield Figure(
        f"kill -9 to the next right action, {jobs}", failover.first, "s", FAILOVER_SECONDS,
        at_most=True,
        note=f"CPU of the other host {failover.cpu:.1f} s; the last of {STOPPED} jobs that were"
             f" stopped then: {failover.last:.1f} s",
    )  # fmt: skip


def _host(alone: Stage, name: str, url: str) -> Stage:
    """A host of its own over the same world: the configuration, and a folder; what the agent that
    was alone kept is the first one's."""
    folder = alone.directory / f"host-{name}"
    folder.mkdir()
    (folder / CLOCK).symlink_to(alone.directory / CLOCK)
    secret = folder / "journal-url"
    secret.write_text(url)
    secret.chmod(0o600)
    text = (alone.directory / "provider.toml").read_text()
    (folder / "provider.toml").write_text(text)
    state = alone.directory / "state"
    if name != "a":
        _prefetched(state, folder / "state")
        state = folder / "state"
    return alone.beside(
        folder,
        {
            "OYSTER_STATE_DIR": str(state),
            "OYSTER_JOURNAL__URL_FILE": str(secret),
            "OYSTER_JOURNAL__HOST": name,
            "OYSTER_STATUS__LISTEN": f"127.0.0.1:{free_port()}",
        },
    )


def _prefetched(state: Path, own: Path) -> None:
    """Images as a standby has them after a while (`agent.loop.prefetch`), and none is pinned."""
    own.mkdir(mode=0o700)
    pins = shutil.ignore_patterns("pins")
    shutil.copytree(state / "images", own / "images", ignore=pins, copy_function=os.link)


def _until_leads(engine: sa.Engine, name: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with engine.connect() as connection:
            holder = connection.scalar(sa.text("SELECT max(holder) FROM leases"))
        if holder == name:
            return
        time.sleep(0.1)
    heard = [one.member.host for one in Hosts(engine).standings()]
    raise RetryLater(f"host {name} does not lead within {PATIENCE_SECONDS:.0f} s; heard: {heard}")


def _said_all(stage: Stage) -> None:
    """Until the agent speaks of all jobs."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if stage.counted(stage.said()) >= SIZE:
            return
    raise RetryLater(f"not all jobs were read within {PATIENCE_SECONDS:.0f} s")


def _calmed(stage: Stage, engine: sa.Engine | None = None) -> Calm:
    """Once enclaves are asked each in a moment of its own."""
    stage.clock.set_speed(CALM_SPEED)
    stage.sleep(CALM_SECONDS)
    stage.clock.set_speed(1.0)
    return _window((stage,), engine)


def _window(stages: tuple[Stage, ...], engine: sa.Engine | None) -> Calm:
    begun, cpu, done = time.monotonic(), [one.cpu() for one in stages], _transactions(engine)
    until = begun + WINDOW_SECONDS
    while time.monotonic() < until:
        for one in stages:
            one.drain()
        time.sleep(0.5)
    seconds = time.monotonic() - begun
    spent = (one.cpu() - before for one, before in zip(stages, cpu, strict=True))
    shares = tuple(each / seconds * 100 for each in spent)
    return Calm(shares, (_transactions(engine) - done) / seconds)


def _transactions(engine: sa.Engine | None) -> int:
    if engine is None:
        return 0
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = "
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
        return int(connection.scalar(sa.text(query + "current_database()")) or 0)


def _failover(leader: Stage, other: Stage) -> Failover:
    before, cpu = len(other.ask()["ended"]), other.cpu()
    begun, first = time.monotonic(), 0.0
    leader.kill()
    other.ask(f"/end/{STOPPED}")
    while time.monotonic() - begun < PATIENCE_SECONDS:
        ended = len(other.ask()["ended"]) - before
        first = first or (time.monotonic() - begun if ended else 0.0)
        if ended >= STOPPED:
            return Failover(first, time.monotonic() - begun, other.cpu() - cpu)
        other.drain()
        time.sleep(0.02)
    raise RetryLater(f"not all ends came within {PATIENCE_SECONDS:.0f} s")
