"""What can happen to one of two hosts, played with real processes, and what is counted after it.

Two agents, their clocks apart, share a PostgreSQL; each reaches it by a way of its own. At a moment
in which one job comes up something happens to the host that leads, and another job is requested.
However it goes: both are started, by one instance each, by one transaction each.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agent.journal.engines import open_server
from agent.journal.hosts import Hosts, Role
from agent.journal.transactions import transactions
from agent.secret import SecretUrl
from cloud.layout import DESIRED, HOSTS
from devnet import several
from devnet.agent_process import Provider
from devnet.database import AGAIN, SCHEMES
from devnet.up import Options
from faults import Fault, Refused, RetryLater
from tests.commands.program import in_its_dialect
from tests.devnet.scene import Scene, opened

AHEAD_SECONDS = {"b": 20.0}  # far more than a lease
HEARD_SECONDS = 3.0  # a host that runs writes once a second
PATIENCE = 90.0
LEADS, STANDS_BY = "leads", "stands by"


@dataclass
class Pair:
    """Both hosts and the market they serve."""

    scene: Scene
    directory: Path
    lease_seconds: float

    @cached_property
    def engine(self) -> sa.Engine:
        url = (self.directory / "hosts" / "journal-url").read_text()
        return open_server(SecretUrl(url, SCHEMES))

    @property
    def _name(self) -> str:
        with self.engine.connect() as connection:
            return str(connection.scalar(sa.text("SELECT name FROM leases")))

    def roles(self) -> dict[str, str]:
        """Of the hosts that were heard just now."""
        hosts = Hosts(self.engine)
        leading = hosts.leading(self._name)
        heard = [
            one
            for one in hosts.standings()
            if one.seconds_ago < HEARD_SECONDS and one.role is not Role.ENDS
        ]
        leads = leading.holder if leading is not None and leading.runs else ""
        roles = {one.member.host: STANDS_BY for one in heard}
        return {host: LEADS if host == leads else role for host, role in roles.items()}

    def leader(self) -> str:
        return next((host for host, role in self.roles().items() if role == LEADS), "")

    def both(self) -> str:
        """Who leads, once the other stands by."""

        def look() -> str:
            try:
                roles = self.roles()
            except RetryLater:  # the database is restarted
                return ""
            return self.leader() if sorted(roles.values()) == [LEADS, STANDS_BY] else ""

        return self.scene.eyes.until("one leads and one stands by", look, PATIENCE)

    def act(self, do: Callable[..., None], host: str) -> None:
        do(self.directory, self.scene.eyes.devnet, host)

    def child(self, name: str) -> int:
        return self.scene.eyes.devnet.children[name]

    def agent(self, host: str) -> int:
        return int((self.directory / "hosts" / host / "agent.pid").read_text())


def _requested(pair: Pair) -> int:
    """A job, as soon as the offer is on the market: an agent on a starved machine takes it off for
    a while."""

    def ask() -> int:
        with suppress(Refused):
            return pair.scene.request()
        return 0

    return pair.scene.eyes.until("an offer", ask, PATIENCE)


@dataclass(frozen=True)
class Fault_:
    """One row of the table: what happens to the host, and what ends it."""

    strikes: Callable[[Pair, str], None]
    ends: Callable[[Pair, str], None] = lambda pair, host: None
    leader_stays: bool = False  # the same host may go on


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


def _told_to_end(pair: Pair, host: str) -> None:
    os.kill(pair.agent(host), signal.SIGTERM)


# Section 8 of the design as what is done to the host that leads. Both hosts' clocks are apart in
# all of them.
TABLE: Mapping[str, Fault_] = {
    "killed": Fault_(_killed, _on_again),
    "frozen, then on": Fault_(_frozen, _thawed),
    "cut off": Fault_(_cut, _healed),
    "connections closed": Fault_(_closed, _opened),
    "database crashes in a commit": Fault_(_database_crashes, leader_stays=True),
    "yields": Fault_(_yields),
    "told to end": Fault_(_told_to_end),
}


@dataclass
class Report:
    """What was seen; `failover` in seconds, from the fault to the next job's instance."""

    failover: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    instances: int = 0  # the most of one identity
    raw: int = 0  # the most transactions of one key
    versions: int = 0  # the most of one host's desired.json
    went_back: int = 0  # of desired.json: how often a version came again

    def lines(self) -> Iterator[str]:
        every = sorted(one for took in self.failover.values() for one in took)
        for name, took in self.failover.items():
            yield f"{name:<30} {_spread(took)}"
        yield f"{'together':<30} {_spread(every)}"
        yield f"instances of one identity at most {self.instances}"
        yield f"transactions of one key at most {self.raw}"
        yield f"versions of one host's desired.json at most {self.versions}, back {self.went_back}"


def _spread(took: list[float]) -> str:
    ordered = sorted(took)
    if not ordered:
        return "never"
    middle = ordered[len(ordered) // 2]
    return f"n {len(ordered):>3}  p50 {middle:5.1f} s  max {ordered[-1]:5.1f} s"


def play(pair: Pair, name: str, report: Report) -> None:
    """One row once: strike while a job comes up, and look at what the other host makes of it."""
    row, leader = TABLE[name], pair.both()
    first = _requested(pair)
    time.sleep(hash((name, first)) % 10 / 10)  # somewhere while it is brought up
    began = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        striking = aside.submit(row.strikes, pair, leader)
        second = _requested(pair)
        pair.scene.launched(second)
        report.failover[name].append(time.monotonic() - began)
        striking.result()
    if not row.leader_stays:
        assert pair.leader() not in ("", leader), f"{name}: {leader} leads on"
    row.ends(pair, leader)
    for job in (first, second):
        pair.scene.started(job)
    pair.both()
    _count(pair, report, (first, second))
    for job in (first, second):
        pair.scene.people.stop_job(pair.scene.eyes.devnet.person("user"), job)


def two_terminals_at_once(pair: Pair, report: Report) -> None:
    """Each on its own host: both transactions get into a block, under nonces of their own."""
    provider = pair.scene.provider

    def unstakes(host: str) -> Any:
        words = ("unstake", "1", "--yes")
        return _on(provider, host).ask(*words)

    with ThreadPoolExecutor(2) as both:
        done = list(both.map(unstakes, ("a", "b")))
    hashes = {one["transactions"][-1]["hash"] for one in done} if done else set()
    assert len(hashes) == 2, done
    _count(pair, report, ())


def _on(provider: Provider, host: str) -> Provider:
    class OnHost(Provider):
        @property
        def env(self) -> Mapping[str, str]:
            return {**provider.env, **provider.devnet.hosts[host]}

    return OnHost(provider.devnet, provider.children, provider.config)


def _count(pair: Pair, report: Report, jobs: tuple[int, ...]) -> None:
    for log in (pair.directory / "hosts").glob("*/agent.log"):
        assert ".bug" not in log.read_text(), f"{log}: see its last lines"
    launched = Counter(one.identity for job in jobs for one in pair.scene.eyes.instances(job))
    report.instances = max([report.instances, *launched.values()])
    with pair.engine.connect() as connection:
        keys = Counter(connection.execute(sa.select(transactions.c.key)).scalars())
        nonces = list(connection.execute(sa.select(transactions.c.nonce)).scalars())
    assert len(nonces) == len(set(nonces))
    report.raw = max([report.raw, *keys.values()])
    for versions in _desired(pair).values():
        report.versions = max(report.versions, len(versions))
        report.went_back += sum(new in versions[:at] for at, new in enumerate(versions))


def _desired(pair: Pair) -> dict[str, list[str]]:
    """The ETags of each host's desired.json in the order they were written, but for the same one
    written again."""
    s3, found = pair.scene.eyes.s3, dict[str, list[str]]()
    for bucket in s3.list_buckets()["Buckets"]:
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket["Name"], Prefix=HOSTS
        )
        for page in pages:
            for one in page.get("Versions", []):
                if one["Key"].endswith(f"/{DESIRED}"):
                    found.setdefault(one["Key"], []).append(one["ETag"])
    newest_last = {key: tags[::-1] for key, tags in found.items()}
    return {
        key: [tag for tag, after in pairwise([*tags, ""]) if tag != after]
        for key, tags in newest_last.items()
    }


@contextmanager
def on_stage(folder: Path, lease_seconds: float) -> Iterator[Pair]:
    """Two hosts on a devnet in `folder`; skips where there is no PostgreSQL."""
    options = Options(
        directory=folder / "net",
        job_bootstrapping=120,
        job_startup=120,
        job_exit_cool_down=3,
        boot_share=0.0,
        hosts=2,
        ahead_seconds=AHEAD_SECONDS,
        config_overrides={
            "chain": {"finality": "6"},
            "jobs": {"min_escrow": "3s", "resync": "5s", "dry_grace": "0s"},
            "journal": {"lease": f"{lease_seconds:g}s"},
        },
    )
    try:
        several.require_database()
    except Fault as none:
        pytest.skip(str(none))
    with opened(options, runs=False) as scene:
        for bucket in scene.eyes.s3.list_buckets()["Buckets"]:
            scene.eyes.s3.put_bucket_versioning(
                Bucket=bucket["Name"], VersioningConfiguration={"Status": "Enabled"}
            )
        pair = Pair(scene, folder / "net", lease_seconds)
        try:
            yield pair
        finally:
            pair.engine.dispose()
