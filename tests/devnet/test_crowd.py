"""Many jobs in few blocks, and the agent killed in the midst of them, on the whole devnet.

Real contracts, real HTTP and S3, a host process and an enclave process for each instance. Fifty
jobs take about 90 seconds on two cores: not the agent takes them, but the Python processes that
start for each job, on the cores that the agent and the chain run on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from agent.market.model import JobStatus, StopReason
from devnet.up import USD, Options
from tests.devnet.scene import PRICE, TYPE, Scene, opened

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("story"),
]

CROWD = int(os.environ.get("OYSTER_CROWD", "50"))
PATIENCE = 240  # seconds for all together, on a busy machine
BOOTSTRAPPING = 1200
GAS = 1_500_000

CONFIG = {
    "chain": {"finality": "3"},
    "jobs": {"min_escrow": "3s", "resync": "5s", "dry_grace": "0s"},
    "keepalive": {"probe": "60s"},
    # A machine with one core for every eight hosts is slow: that is no reason to race another.
    "deadlines": {"boot": "120s", "enclave": "120s"},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    options = Options(
        directory=tmp_path_factory.mktemp("crowd"),
        job_bootstrapping=BOOTSTRAPPING,
        job_startup=BOOTSTRAPPING,
        job_exit_cool_down=3,
        boot_share=0.02,
        config_overrides=CONFIG,
    )
    with opened(options) as scene:
        yield scene


def request_all(scene: Scene) -> list[int]:
    user, functions = scene.eyes.devnet.person("user"), scene.eyes.market.registry.functions
    call = functions.requestJob(TYPE, PRICE.raw, scene.url, 5 * USD)
    scene.eyes.market.send_all(user, [call] * CROWD, GAS)
    return list(range(1, CROWD + 1))


def stop_all(scene: Scene, jobs: list[int]) -> None:
    user, functions = scene.eyes.devnet.person("user"), scene.eyes.market.registry.functions
    scene.eyes.market.send_all(user, [functions.requestToStopJob(job) for job in jobs], GAS)


def all_running(scene: Scene, jobs: list[int]) -> bool:
    return all(scene.eyes.job(job)["status"] == JobStatus.RUNNING for job in jobs)


def test_crowd__agent_killed_in_its_midst__serves_each_job_once_and_leaves_nothing(
    scene: Scene,
) -> None:
    eyes = scene.eyes
    jobs = request_all(scene)
    eyes.until("some launches", lambda: len(eyes.instances()) >= CROWD // 10, PATIENCE)
    scene.provider.crash_agent()
    assert not all_running(scene, jobs)
    scene.provider.run_agent()
    eyes.until("all running", lambda: all_running(scene, jobs), PATIENCE)

    launched = Counter(one.identity.job for one in eyes.instances())
    assert launched == Counter(jobs)
    started = eyes.market.registry.events.JobStarted().get_logs(from_block=eyes.devnet.block)
    assert Counter(log["args"]["jobId"] for log in started) == Counter(jobs)
    assert len({eyes.job(job)["endpoint"] for job in jobs}) == CROWD

    stop_all(scene, jobs)
    eyes.until("an empty AWS account", lambda: not eyes.left_in_aws(), PATIENCE)
    for job in jobs:
        stored = eyes.job(job)
        assert stored["stopReason"] == StopReason.USER_REQUEST
        assert stored["generation"] == 1
    assert Counter(one.identity.job for one in eyes.instances()) == Counter(jobs)
    assert eyes.books().exact
    assert scene.provider.stop_agent() == 0
