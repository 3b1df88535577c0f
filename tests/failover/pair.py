"""Two agents on a devnet, clocks apart, with one PostgreSQL and each a way of its own to it.

What can be asked of them is here; what happens to them is in `tests.failover.strikes`.
"""

from __future__ import annotations

import os
import signal
import tomllib
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.journal.engines import open_server
from agent.journal.hosts import Hosts, Role
from agent.secret import SecretUrl
from devnet import several
from devnet.agent_process import Provider
from devnet.database import SCHEMES
from devnet.up import Options
from faults import Fault, Refused, RetryLater
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
    seen: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

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

    def other_than(self, host: str) -> str:
        return next(name for name in self.scene.eyes.devnet.hosts if name != host)

    def another_than(self, host: str) -> str:
        """Whoever leads instead of it, once somebody does."""
        look = partial(_but_for, self, host)
        return self.scene.eyes.until(f"another leader than {host}", look, PATIENCE)

    def restarted(self, host: str) -> None:
        """Told to end, as for an upgrade, and started again by its manager; it stands by again."""
        old = self.agent(host)
        os.kill(old, signal.SIGTERM)

        def look() -> bool:
            with suppress(OSError, ValueError):
                return self.agent(host) != old and self.roles().get(host) == STANDS_BY
            return False

        self.scene.eyes.until(f"{host} stands by again", look, PATIENCE)

    def log(self, host: str) -> str:
        """All that its agents said so far."""
        return (self.directory / "hosts" / host / "agent.log").read_text()

    def page(self, host: str, path: str) -> str:
        """What the agent of a host answers over HTTP, whatever the status."""
        own = self.scene.eyes.devnet.hosts[host].get("OYSTER_STATUS__LISTEN")
        config = tomllib.loads(self.scene.provider.config.read_text())
        url = f"http://{own or config['status']['listen']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            return refused.read().decode()

    def requested(self) -> int:
        """A job, as soon as the offer is on the market: an agent on a starved machine takes it off
        for a while."""

        def ask() -> int:
            with suppress(Refused):
                return self.scene.request()
            return 0

        return self.scene.eyes.until("an offer", ask, PATIENCE)

    def stopped(self, *jobs: int) -> None:
        """By their user."""
        user = self.scene.eyes.devnet.person("user")
        for job in jobs:
            self.scene.people.stop_job(user, job)


def _but_for(pair: Pair, host: str) -> str:
    try:
        return "" if pair.leader() == host else pair.leader()
    except RetryLater:
        return ""


def on_host(provider: Provider, host: str) -> Provider:
    class OnHost(Provider):
        @property
        def env(self) -> Mapping[str, str]:
            return {**provider.env, **provider.devnet.hosts[host]}

    return OnHost(provider.devnet, provider.children, provider.config)


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
