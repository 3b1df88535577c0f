"""One value of health on every surface: /readyz, metrics, `status` and `doctor` say the same of
each fault that can be brought about; the page's part is in tests/agent/status/test_page.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

import program
from agent.config import load
from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer
from agent.status.health import (
    Disk,
    Grade,
    Health,
    NodeSeen,
    OfferSeen,
    RegionSeen,
    Seen,
    judge,
)
from agent.status.waiting_room import WaitingRoom
from commands.checkup import agent as agent_check
from commands.checkup.patient import Finding, Patient
from devnet.processes import free_port
from tests.agent.status.conftest import Past, Source, a_view
from tests.clocks import MovingClock

from .program import oyster_here

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

NOW = float(int(time.time()))
WELL = Seen(
    now=NOW, progress_at=NOW - 1, stall_seconds=60, started_at=NOW - 5000, head_at=NOW - 5,
    window_seconds=300, nodes=(NodeSeen("node.one", True), NodeSeen("node.two", True)),
    regions=tuple(RegionSeen(name, NOW - 9) for name in ("us-east-1", "eu-west-1")),
    disk=Disk(2**40, 2**32), gas_jobs=50.0, stake_jobs=3,
)  # fmt: skip
GONE = tuple(RegionSeen(name, NOW - 70, "timed out") for name in ("us-east-1", "eu-west-1"))
DENIED = tuple(replace(one, denied=True, fault="the token has expired") for one in GONE)
FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "loop stands still": {"progress_at": NOW - 90},
    "first resync": {"resynced": False},
    "chain away": {"chain_error": "no node answers"},
    "chain behind": {"head_at": NOW - 200},
    "a node refuses": {"nodes": (NodeSeen("node.one", True), NodeSeen("node.two", False, "401"))},
    "no node answers": {
        "head_at": NOW - 40,
        "nodes": tuple(NodeSeen(name, False, f"{name} timed out") for name in ("a.one", "b.two")),
    },
    "a region away": {"regions": (GONE[0], WELL.regions[1])},
    "AWS away": {"regions": GONE},
    "credentials": {"regions": DENIED},
    "clock behind": {"aws_ahead": 120.0},
    "journal": {"journal": "disk I/O error"},
    "disk": {"disk": Disk(2**20, 2**32)},
    "file": {"file": ("jobs.min_escrow: 1 in the file, 2 runs",)},
    "broken file": {"broken": "config.toml:12: chain.chain_id: -1 is below 1"},
    "offer": {"offers": (OfferSeen("us-east-1/t3.micro", "1/h", "1/h", never="no enclaves"),)},
    "missed": {"recent": {"missed": 1}},
    "held": {"held": 2},
    "second agent": {"other_agent_at": NOW - 30},
    "gas": {"gas_jobs": 0.2},
    "bug": {"bugs": ("job 5: KeyError('x')",)},
    "the journal's server away": {"leadership": "the journal's server is away: refused"},
    "much at once": {"regions": GONE, "held": 1, "gas_jobs": 0.1, "recent": {"slashed": 1}},
}


@dataclass
class Stage:
    """A status server, and a configuration that names it."""

    address: str
    source: Source
    config: Path

    def brought_about(self, change: dict[str, Any]) -> Health:
        health = judge(replace(WELL, **change))
        at = change.get("progress_at", WELL.progress_at)
        self.source.change(health=health, progress_at=at, notices=())
        return health

    async def run(self, *words: str) -> Any:
        environ = {"OYSTER_CONFIG": str(self.config), "OYSTER_STATUS__LISTEN": self.address}
        return await asyncio.to_thread(oyster_here, *words, environ=environ)

    async def doctor(self, found: tuple[Finding, ...] = ()) -> Finding:
        config = load(self.config, {"OYSTER_STATUS__LISTEN": self.address})
        patient = Patient(config, self.config, found=list(found))
        return (await agent_check.agent(patient))[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    config = tmp_path_factory.mktemp("health") / "provider.toml"
    config.write_text(
        'state_dir = "state"\n[chain]\nchain_id = 1\nregistry = "0x' + "ab" * 20 + '"\n'
        'rpc_urls = ["http://127.0.0.1:9"]\n[wallet]\nkey_file = "key"\n'
        '[aws]\nregions = ["us-east-1"]\n[images]\ngateways = ["https://ipfs.io"]\n'
    )
    source, clock = Source(replace(a_view(NOW), version=program.version())), MovingClock(NOW)
    metrics = Metrics()
    metrics.watch(source, clock)
    settings = Settings(listen="127.0.0.1:0")
    async with StatusServer(settings, source, Past(), metrics, clock) as server:
        yield Stage(server.addresses["operator"], source, config)


@pytest.mark.parametrize("fault", FAULTS)
async def test_health__each_fault__is_the_same_on_every_surface(stage: Stage, fault: str) -> None:
    health = stage.brought_about(FAULTS[fault])
    async with httpx.AsyncClient(base_url=f"http://{stage.address}", trust_env=False) as client:
        ready, scraped = await client.get("/readyz"), (await client.get("/metrics")).text
    assert ready.status_code == (503 if health.fails else 200)
    lines = ready.text.splitlines()
    assert [line for line in lines if line != "ok"] == [
        *(part.line for part in health.fails),
        *([] if health.fails else [f"look: {part.line}" for part in health.warns]),
    ]
    assert _gauges(scraped) == {
        (part.kind, part.name): float(part.grade is Grade.FAIL) + 1
        for part in (*health.warns, *health.fails)
    }
    told = await stage.run("status", "--json")
    shown = json.loads(told.stdout)
    assert shown["health"]["word"] == health.word
    assert [part["line"] for part in shown["health"]["parts"] if part["grade"] != "ok"] == [
        part.line for part in health.parts if part.grade is not Grade.OK
    ]
    assert told.returncode == (4 if health.fails else 0)
    people = (await stage.run("status")).stdout
    assert all(part.line in people for part in (*health.fails, *health.warns))
    found = await stage.doctor()
    verdict = "fail" if health.fails else "warn" if health.warns else "ok"
    assert (found.verdict, found.found.partition(":")[0].partition(",")[0]) == (
        verdict, health.word,
    )  # fmt: skip
    assert all(part.text in found.found for part in (*health.fails, *health.warns))


LINE = "stands by: another host leads; `oyster-provider hosts list` says which"
STANDBY = {
    "stands_by": True, "resynced": False, "offers": (OfferSeen("us-east-1/c6a.xlarge", "1/h", ""),)
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module")
async def standby(stage: Stage) -> AsyncIterator[Stage]:
    """A host that stands by for another, and is well."""
    was = stage.source.shown
    stage.brought_about(STANDBY)
    stage.source.change(stands_by=True, jobs=())
    yield stage
    stage.source.shown = was


async def test_readyz__of_a_healthy_standby__has_that_as_its_one_reason(standby: Stage) -> None:
    async with httpx.AsyncClient(base_url=f"http://{standby.address}", trust_env=False) as client:
        ready, scraped = await client.get("/readyz"), (await client.get("/metrics")).text
    assert (ready.status_code, ready.text) == (503, f"{LINE}\n")
    assert _gauges(scraped) == {("standby", ""): 2.0}


async def test_status__of_a_healthy_standby__says_so_and_is_no_error(standby: Stage) -> None:
    done = await standby.run("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"!  {LINE}" in done.stdout
    assert "stands by" in done.stdout.splitlines()[0]
    told = [line.split()[0] for line in done.stdout.splitlines()]
    assert not {"jobs", "earning", "!!"} & set(told), "nothing that is not known, nor a fault"
    assert (await standby.run("status", "--json")).returncode == 0


async def test_status__of_a_standby_without_aws__is_an_error_that_names_it(standby: Stage) -> None:
    standby.brought_about({**STANDBY, "regions": GONE})
    done = await standby.run("status")
    assert done.returncode == 4
    assert "not ready: us-east-1: AWS was not seen" in done.stderr


async def test_doctor__of_a_healthy_standby__is_well(standby: Stage) -> None:
    found = await standby.doctor()
    assert (found.verdict, found.found) == ("ok", f"stands by, version {program.version()}")


async def test_doctor__the_journal_s_server_is_away__is_told_once(stage: Stage) -> None:
    stage.brought_about(FAULTS["the journal's server away"])
    found = await stage.doctor((Finding("hosts", "fail", "the server does not answer"),))
    assert (found.verdict, found.found) == ("skip", "not ready, for what is named above")


def _gauges(scraped: str) -> dict[tuple[str, str], float]:
    families = {one.name: one for one in text_string_to_metric_families(scraped)}
    return {
        (sample.labels["part"], sample.labels["name"]): sample.value
        for sample in families["oyster_trouble"].samples
        if sample.value
    }


async def test_doctor__aws_is_away_for_it_too__names_it_once(stage: Stage) -> None:
    stage.brought_about(FAULTS["AWS away"])
    above = Finding("AWS identity", "fail", "AWS does not answer")
    found = await stage.doctor((above,))
    assert (found.verdict, found.found) == ("skip", "not ready, for what is named above")
    stage.brought_about(FAULTS["much at once"])
    found = await stage.doctor((above,))
    assert found.verdict == "fail"
    assert "1 ends or exits are held" in found.found
    assert "AWS" not in found.found


async def test_doctor__the_agent_alone_has_lost_aws__is_told_as_the_agents(stage: Stage) -> None:
    """Its credentials are not the operator's: doctor's own checks pass."""
    stage.brought_about(FAULTS["credentials"])
    found = await stage.doctor((Finding("AWS identity", "ok", "account 1"),))
    assert found.verdict == "fail"
    assert found.found.startswith("not ready: us-east-1, eu-west-1: the token has expired")


AWAY = "waiting to start: no answer from AWS: Read timeout"


async def test_health__the_agent_waits_to_start__every_surface_says_for_what(stage: Stage) -> None:
    """Nobody who asks is told to start what runs."""
    address = f"127.0.0.1:{free_port()}"
    room, waits = WaitingRoom(Settings(listen=address)), replace(stage, address=address)
    await room.say("waiting to start: no node answers")
    await room.say(AWAY)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            alive, ready = await client.get("/healthz"), await client.get("/readyz")
            scraped = await client.get("/metrics")
            named = {"host": "attacker.example"}
            probed = await client.get("/readyz", headers=named)
            foreign = await client.get("/metrics", headers=named)
        assert (alive.status_code, ready.status_code, ready.text) == (200, 503, f"{AWAY}\n")
        assert (scraped.status_code, _gauges(scraped.text)) == (200, {("start", ""): 2.0})
        assert (probed.status_code, AWAY in probed.text) == (503, False)
        assert foreign.status_code == 421
        told = await waits.run("status")
        assert told.returncode == 4
        assert told.stderr.endswith(f"does not serve yet: {AWAY}\n")
        found = await waits.doctor()
        assert found.verdict == "fail"
        assert AWAY in found.found
    finally:
        await room.leave()
    assert "no agent answers" in (await waits.run("status")).stderr
