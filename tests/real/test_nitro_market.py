"""`devnet up --boot qemu`: a job of the market whose enclave is a kernel that boots.

The host program runs it and carries its streams, the agent asks for its attestation through them
and reports the start. QEMU measures, the signature is simulated.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devnet.nitro import parts
from devnet.nitro.build import build
from devnet.up import Options
from tests.devnet.scene import PATIENCE, Scene, opened
from tests.real.nitro import why_not

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(420),
    pytest.mark.allow_hosts(["127.0.0.0/8"]),  # the instances' public addresses
    pytest.mark.xdist_group("real-nitro"),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "all is there"),
]
CONFIG = {
    "chain": {"finality": "6"},
    "keepalive": {"probe": "2s", "retry": "1s"},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    build()
    options = Options(
        directory=tmp_path_factory.mktemp("market"),
        boot="qemu",
        job_exit_cool_down=3,
        boot_share=0.02,
        config_overrides=CONFIG,
    )
    with opened(options) as scene:
        yield scene


@pytest.fixture(scope="module")
def job(scene: Scene) -> int:
    """One that the agent reported started: it verified the enclave's document before."""
    number = scene.request()
    scene.started(number)
    return number


def test_job__its_image_brings_a_kernel__is_one_that_booted(scene: Scene, job: int) -> None:
    (record,) = _records(scene)
    kept = parts.built()
    assert kept is not None
    assert Path(f"/proc/{record['ProcessID']}/exe").readlink() == kept.qemu
    said = _get(scene, job, "/hello").json()
    assert said == {"simulated": True, "kernel": said["kernel"], "path": "/hello"}
    assert "cloud-amd64" in said["kernel"]


def test_traffic__through_the_host_program__comes_back_whole(scene: Scene, job: int) -> None:
    body = os.urandom(1 << 20)
    answer = httpx.post(f"http://{_address(scene, job)}:8080/", content=body, timeout=60)
    assert answer.content == body


def test_enclave__dies__boots_again_on_its_host(scene: Scene, job: int) -> None:
    (before,) = _records(scene)
    os.kill(before["ProcessID"], signal.SIGKILL)

    def again() -> bool:
        found = _records(scene)
        return [one["State"] for one in found] == ["RUNNING"] and found != [before]

    scene.eyes.until("another boot", again, PATIENCE)
    assert _get(scene, job, "/again").json()["path"] == "/again"
    assert len(scene.eyes.instances(job)) == 1


def _records(scene: Scene) -> list[dict[str, Any]]:
    """What the hypervisor has, all instances together."""
    folder = Path(scene.eyes.devnet.attestation_root).parents[1] / "instances"
    files = folder.glob("*/run/nitro_enclaves/*.json")
    return [json.loads(file.read_text()) for file in files]


def _address(scene: Scene, job: int) -> str:
    (instance,) = scene.eyes.live_instances(job)
    assert instance.public_ip is not None
    return instance.public_ip


def _get(scene: Scene, job: int, path: str) -> httpx.Response:
    def ask() -> httpx.Response | None:
        try:
            return httpx.get(f"http://{_address(scene, job)}:8080{path}", timeout=10)
        except httpx.HTTPError:
            return None

    return scene.eyes.until("an answer", ask, PATIENCE)
