"""Two agents with one PostgreSQL: one leads, the other stands by, whatever becomes of either."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import program
from devnet.agent_process import Provider
from devnet.processes import Child, free_port
from devnet.up import Options
from tests import postgres
from tests.devnet.scene import Scene, opened

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
]

LEASE = "3s"
CONFIG = {
    "chain": {"finality": "6"},
    "jobs": {"min_escrow": "3s", "resync": "5s", "dry_grace": "0s"},
    "journal": {"lease": LEASE, "host": "a"},
}
PATIENCE = 60.0


@dataclass
class Host:
    """One machine with the agent on it."""

    name: str
    provider: Provider
    child: Child | None = None

    def start(self) -> None:
        words = program.command("run")
        env = self.provider.env
        self.child = self.provider.children.start(
            f"agent-{self.name}", words, env=env, says_hello=False
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.process.send_signal(number)

    def ended(self) -> int:
        assert self.child is not None
        return self.child.process.wait(PATIENCE)

    def kill(self) -> None:
        self.provider.children.kill(f"agent-{self.name}")


@dataclass
class Pair:
    """Both hosts and the market they serve."""

    scene: Scene
    hosts: dict[str, Host]

    def standing(self) -> dict[str, dict[str, Any]]:
        return {one["host"]: one for one in self.scene.provider.ask("hosts", "list")}

    def leader(self) -> str | None:
        leads = [name for name, one in self.standing().items() if one["role"] == "leads"]
        assert len(leads) <= 1
        return leads[0] if leads else None

    def until_leads(self, name: str) -> None:
        self.scene.eyes.until(f"{name} leads", lambda: self.leader() == name, PATIENCE)

    def until_stands_by(self, name: str) -> None:
        def look() -> bool:
            return self.standing().get(name, {}).get("role") == "stands by"

        self.scene.eyes.until(f"{name} stands by", look, PATIENCE)

    def serves_one_more(self) -> None:
        """A job is started once, by one instance."""
        job = self.scene.request()
        self.scene.started(job)
        assert len(self.scene.eyes.live_instances(job)) == 1


def _second(first: Provider, folder: Path) -> Provider:
    """The same configuration on another machine: its own folder, name and ports."""
    text = first.config.read_text()
    text = re.sub(r"(?m)^state_dir = .*$", f'state_dir = "{folder / "b"}"', text)
    text = re.sub(r"(?m)^listen = .*$", f'listen = "127.0.0.1:{free_port()}"', text, count=1)
    text = text.replace('host = "a"', 'host = "b"')
    config = folder / "b.toml"
    config.write_text(text)
    config.chmod(0o600)
    return Provider(first.devnet, first.children, config)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("hosts")
    servers = postgres.made()
    server = next(servers)
    url = folder / "journal-url"
    url.write_text(server.database().reveal())
    url.chmod(0o600)
    journal = {**CONFIG["journal"], "url_file": str(url)}
    options = Options(
        directory=folder / "net",
        job_bootstrapping=120,
        job_startup=120,
        job_exit_cool_down=3,
        boot_share=0.02,
        config_overrides={**CONFIG, "journal": journal},
    )
    with opened(options, runs=False) as scene:
        other = _second(scene.provider, folder)
        pair = Pair(scene, {"a": Host("a", scene.provider), "b": Host("b", other)})
        pair.hosts["a"].start()
        pair.until_leads("a")
        pair.hosts["b"].start()
        pair.until_stands_by("b")
        yield pair
    next(servers, None)


def test_two_hosts__whatever_becomes_of_the_leader__one_leads_and_nothing_is_done_twice(
    pair: Pair,
) -> None:
    """One story: each step begins with the hosts as the one before left them."""
    _both_are_configured_alike(pair)
    _killed(pair)
    _told_to_yield(pair)
    _frozen_past_its_lease(pair)
    _told_to_end(pair)


def _both_are_configured_alike(pair: Pair) -> None:
    standing = pair.standing()
    assert {name: one["role"] for name, one in standing.items()} == {"a": "leads", "b": "stands by"}
    assert {one["configuration"] for one in standing.values()} == {"as here"}
    pair.serves_one_more()


def _killed(pair: Pair) -> None:
    job = pair.scene.request()
    pair.scene.launched(job)
    pair.hosts["a"].kill()
    pair.until_leads("b")
    pair.scene.started(job)
    assert len(pair.scene.eyes.live_instances(job)) == 1
    pair.serves_one_more()


def _told_to_yield(pair: Pair) -> None:
    pair.hosts["a"].start()
    pair.until_stands_by("a")
    told = pair.scene.provider.ask("hosts", "yield")
    assert (told["from"], told["to"]) == ("b", "a")
    assert pair.hosts["b"].ended() == 75
    pair.serves_one_more()


def _frozen_past_its_lease(pair: Pair) -> None:
    pair.hosts["b"].start()
    pair.until_stands_by("b")
    pair.hosts["a"].signal(signal.SIGSTOP)
    pair.until_leads("b")
    pair.serves_one_more()
    pair.hosts["a"].signal(signal.SIGCONT)
    assert pair.hosts["a"].ended() == 75
    pair.serves_one_more()


def _told_to_end(pair: Pair) -> None:
    """The lease is given back."""
    pair.hosts["a"].start()
    pair.until_stands_by("a")
    pair.hosts["b"].signal(signal.SIGTERM)
    assert pair.hosts["b"].ended() == 0
    pair.until_leads("a")
    pair.serves_one_more()
