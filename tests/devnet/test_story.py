"""A job's life on the whole devnet, each time with another thing going wrong.

Real contracts, real HTTP and S3, the agent as a process; believed is only what chain and AWS show.
Every image comes from two gateways, and the first one lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import program
from agent.config import load
from agent.market.model import JobStatus, StopReason
from agent.market.price import Price
from devnet.eyes import SeenInstance
from devnet.processes import Child, Children
from devnet.up import Options
from tests.devnet.scene import PATIENCE, PRICE, TYPE, Scene, opened

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(420),
    pytest.mark.allow_hosts(["127.0.0.0/8"]),  # the instances' public addresses
    pytest.mark.xdist_group("story"),  # one devnet for all of them
]

BOOTSTRAPPING = 120

CONFIG = {
    "chain": {"finality": "3"},
    "jobs": {"min_escrow": "3s", "resync": "2s", "dry_grace": "0s"},
    "keepalive": {"probe": "2s", "retry": "1s", "restart": "5s", "replace_backoff": "1s"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def liar(folder: Path) -> Iterator[Child]:
    """A gateway over the devnet's own files that changes what it serves."""
    with Children(folder / "liar") as children:
        words = [*program.module("devnet.ipfs.node"), "--directory", str(folder / "ipfs")]
        yield children.start("liar", [*words, "--behave", "lying"])


@pytest.fixture(scope="module")
def scene(folder: Path, liar: Child) -> Iterator[Scene]:
    options = Options(
        directory=folder,
        job_bootstrapping=BOOTSTRAPPING,
        job_startup=BOOTSTRAPPING,
        job_exit_cool_down=3,
        boot_share=0.02,
        config_overrides=CONFIG,
        lying_gateways=(str(liar.hello["url"]),),
    )
    with opened(options) as scene:
        yield scene


def test_job__first_gateway_lies__is_served_all_the_same(scene: Scene, liar: Child) -> None:
    job_id = scene.request()
    job = scene.started(job_id)
    assert "lied about" in liar.log.read_text()
    assert job["startedAt"] - job["assignedAt"] < BOOTSTRAPPING
    own = f"/job/{job_id}.json"
    shown = scene.eyes.until("it on its page", lambda: _up(page(scene, own)), PATIENCE)
    assert shown["chain"]["endpoint"] == job["endpoint"]
    assert shown["attestation"]["attested_at"]
    assert len(shown["attestation"]["pcrs"]) == 3
    scene.stop(job_id)
    assert scene.eyes.job(job_id)["stopReason"] == StopReason.USER_REQUEST


def test_page__after_a_job__knows_it_as_past_and_where_the_offer_stands(scene: Scene) -> None:
    ended = "/past.json?q=user_request"
    (past,) = scene.eyes.until("a past job", lambda: page(scene, ended)["jobs"], PATIENCE)
    assert past["id"] == 1
    assert 0 < past["start_seconds"] < BOOTSTRAPPING
    found = scene.eyes.until("figures", lambda: _worked_out(page(scene, "/figures")), PATIENCE)
    assert [(row["rank"], row["listed"]) for row in found["ranks"]] == [(1, 1)]
    assert len(found["days"]) == 30
    assert found["harms"] == []


def _up(job: dict[str, Any]) -> dict[str, Any] | None:
    told = "tx.report_started" in [line["name"] for line in job["timeline"]]
    return job if told and job["chain"]["started_at"] else None


def _worked_out(figures: dict[str, Any]) -> dict[str, Any] | None:
    return figures if figures["at"] else None


def page(scene: Scene, path: str) -> Any:
    """What the agent's page asks for."""
    listen = load(scene.provider.config, {}).status.listen
    return httpx.get(f"http://{listen}{path}", trust_env=False, timeout=10).json()


def test_job__first_zone_sold_out__starts_in_another(scene: Scene) -> None:
    zones = ["us-east-1a", "us-east-1b", "us-east-1c"]
    scene.faulty.faults(sold_out=[["*", zone] for zone in zones])
    try:
        job_id = scene.request()
        job = scene.started(job_id)
        assert job["endpoint"]
        [placed] = [
            one["zone"]
            for one in scene.faulty.instances()
            if one["id"] == scene.launched(job_id).id
        ]
        assert placed not in zones
    finally:
        scene.faulty.faults(sold_out=[])
    scene.stop(job_id)


def test_job__reply_of_runinstances_lost__launches_once(scene: Scene) -> None:
    scene.faulty.faults(lose_replies={"RunInstances": 1})
    job_id = scene.request()
    scene.started(job_id)
    assert len(scene.eyes.instances(job_id)) == 1
    assert scene.faulty.faults()["lose_replies"].get("RunInstances", 0) == 0
    scene.stop(job_id)
    assert len(scene.eyes.instances(job_id)) == 1


def test_job__instance_ended_by_someone_else__is_replaced(scene: Scene) -> None:
    job_id = scene.request()
    scene.started(job_id)
    first = scene.launched(job_id)
    scene.eyes.ec2.terminate_instances(InstanceIds=[first.id])
    second = scene.moved(job_id, first)
    assert second.identity.generation == first.identity.generation
    assert second.identity.attempt == first.identity.attempt + 1
    scene.stop(job_id)


def test_job__host_killed_by_its_hardware__moves_to_another(scene: Scene) -> None:
    job_id = scene.request()
    scene.started(job_id)
    first = scene.launched(job_id)
    scene.faulty.machine(first.id, "hardware_fails")
    scene.eyes.until("it to be dark", lambda: not answers(first), PATIENCE)
    [listed] = scene.eyes.live_instances(job_id)
    assert (listed.id, listed.state) == (first.id, "running")  # EC2 has not noticed
    second = scene.moved(job_id, first)
    assert second.identity.attempt == first.identity.attempt + 1
    scene.eyes.until("the new one to answer", lambda: answers(second), PATIENCE)
    scene.eyes.until(
        "the dead one to go",
        lambda: [one.id for one in scene.eyes.live_instances(job_id)] == [second.id],
        PATIENCE,
    )
    scene.stop(job_id)


def answers(instance: SeenInstance) -> bool:
    """Whether the attestation endpoint does, asked as an auditor asks."""
    url = f"http://{instance.public_ip}:1300/attestation/raw"
    try:
        return bool(httpx.get(url, timeout=2).content)
    except httpx.TransportError:
        return False


def test_job__escrow_runs_dry__is_settled_and_cleared_away(scene: Scene) -> None:
    job_id = scene.request(deposit=PRICE.raw * 8 // Price.SCALE)
    scene.started(job_id)
    job = scene.until(job_id, JobStatus.STOPPED)
    assert job["stopReason"] == StopReason.ESCROW_EXHAUSTED
    assert job["stoppedAt"] == job["startedAt"] + 8
    scene.gone(job_id)


def test_price__by_a_rule_that_undercuts__is_listed_below_the_cheapest_other(scene: Scene) -> None:
    other = scene.eyes.devnet.person("rival")
    scene.people.offer(other, TYPE, _raw("3.50/h"), 100 * 10**18)
    scene.provider.command("offers", "set", TYPE, "3.60/h", "--undercut", "1%", "--yes")
    (row,) = scene.provider.ask("offers", "list")
    assert (row["rank"], row["listed"]) == (1, 2)
    assert 0.989 * _raw("3.50/h") < _listed(scene) < 0.991 * _raw("3.50/h")


def test_price__another_one_goes_lower__is_followed_by_the_agent_itself(scene: Scene) -> None:
    """Before the next job is matched: one with another's stake locked is no rival any more."""
    other, low = scene.eyes.devnet.person("rival"), _raw("3.45/h")
    functions = scene.eyes.market.registry.functions
    scene.eyes.market.send(other, functions.register(TYPE, low))
    scene.eyes.until("our price to follow", lambda: _listed(scene) < 0.991 * low, PATIENCE)
    assert _listed(scene) > 0.989 * low
    shown = scene.eyes.until("it on the page", lambda: _shown(scene), PATIENCE)
    assert shown["rule"]


def _shown(scene: Scene) -> dict[str, Any] | None:
    """The type on the page, once that shows what is listed."""
    (row,) = page(scene, "/now")["types"]
    return dict(row) if int(row["listing"] or 0) == _listed(scene) else None


def test_rehearse__beside_the_agent__is_up_in_time_and_leaves_nothing(scene: Scene) -> None:
    scene.eyes.until("no job", lambda: not scene.eyes.live_instances(), PATIENCE)
    jobs = scene.eyes.market.registry.functions.jobCount().call()
    told = scene.provider.ask("rehearse", TYPE, "--image", scene.url, "--yes")
    assert set(told["stages"]) == {"image", "stage", "launch", "boot", "enclave", "attest"}
    assert told["in_time"]
    assert float(told["cost_tokens"]) > 0
    assert (told["fault"], told["left"]) == ("", "")
    assert scene.eyes.live_instances() == []
    assert scene.eyes.market.registry.functions.jobCount().call() == jobs


def test_job__assignment_undone_by_a_reorganisation__is_cleared_away(scene: Scene) -> None:
    w3 = scene.eyes.market.w3
    job_id = scene.request()
    assigned_in = w3.eth.block_number
    scene.launched(job_id)
    depth = w3.eth.block_number - assigned_in + 1
    w3.manager.request_blocking("devnet_reorg", [depth])  # type: ignore[arg-type]  # ours
    assert scene.eyes.market.registry.functions.jobCount().call() == job_id - 1
    scene.gone(job_id)
    again = scene.request()
    assert again == job_id
    scene.started(again)
    scene.stop(again)


def _raw(price: str) -> int:
    return Price.parse(price, decimals=6).raw


def _listed(scene: Scene) -> int:
    ours = scene.eyes.devnet.person("provider").address
    return int(scene.eyes.market.registry.functions.offer(ours, TYPE).call())


def test_scene__at_the_end__nothing_is_left_and_money_is_exact(scene: Scene) -> None:
    scene.eyes.until("an empty AWS account", lambda: not scene.eyes.left_in_aws(), PATIENCE)
    assert scene.eyes.books().exact
    assert scene.provider.stop_agent() == 0
