"""What hinders a start: tools, memory, images; each is said in its own words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.enclave.host.rig import Rig, rig, sha256, until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

# The oldest that an instance may have and the newest that we know, where this machine has them.
OTHER_PYTHONS = [
    pytest.param(str(path), id=version)
    for version in ("3.9", "3.13")
    for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))[-1:]
]


def test_enclave__will_not_start__fails_after_five_restarts_with_its_words(fast: Rig) -> None:
    host = fast.launch()
    until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
    host.command("nitro", run=["E36"] * 20)
    host.want(fast.desired)
    status = host.wait_phase("failed")
    assert "[ E36 ] Enclave boot failure" in (status.last_error or "")
    assert "VsockTimeoutError" in (status.last_error or "")
    assert len(host.faults()["run"]) == 20 - 6
    host.command("nitro", run=[])
    host.want(replace(fast.desired, run_id="run-2"))
    assert host.wait_phase("running", "run-2").last_error is None
    fast.end(host)


def test_allocator__says_success_but_gave_less__is_noticed(fast: Rig) -> None:
    host = fast.launch()
    until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
    host.command("nitro", allocator_short_mib=100)
    host.want(fast.desired)
    status = host.wait_phase("failed")
    assert "the allocator set aside 2 CPUs and 412 MiB" in (status.last_error or "")
    assert host.enclaves() == []
    fast.end(host)


def test_allocator__odd_cpu_count__reports_the_allocators_words(fast: Rig) -> None:
    host = fast.launch()
    host.want(replace(fast.desired, cpu_count=3))
    assert "not multiple of 2" in (host.wait_phase("failed").last_error or "")
    fast.end(host)


def test_memory__below_four_times_the_image__reports_e26(fast: Rig) -> None:
    image = fast.make_image(fast.fleet.root("x").parent.parent, "big") + b""
    desired = replace(fast.desired, memory_mib=64)
    padded = image + bytes(20 << 20)
    fast.stage(padded)
    host = fast.launch()
    host.want(replace(desired, image_sha256=sha256(padded), image_bytes=len(padded)))
    assert "[ E26 ]" in (host.wait_phase("failed").last_error or "")
    fast.end(host)


def test_image__other_bytes_under_its_name__never_runs(fast: Rig, tmp_path: Path) -> None:
    wanted = fast.make_image(tmp_path, "wanted")
    fast.put(f"images/{sha256(wanted)}", wanted[:-1] + b"\xff")
    host = fast.launch()
    host.want(replace(fast.desired, image_sha256=sha256(wanted), image_bytes=len(wanted)))
    status = host.wait_phase("failed")
    assert "another digest" in (status.last_error or "")
    assert list((host.root / "var/lib/oyster-host/images").iterdir()) == []
    fast.end(host)


def test_image__staged_late__is_waited_for(fast: Rig, tmp_path: Path) -> None:
    image = fast.make_image(tmp_path, "late")
    host = fast.launch()
    host.want(replace(fast.desired, image_sha256=sha256(image), image_bytes=len(image)))
    host.wait(lambda one: one.phase == "fetching" and "HTTP 403" in (one.last_error or ""))
    fast.stage(image)
    assert host.wait_phase("running").last_error is None
    fast.end(host)


def test_describe__lists_it_late_after_its_start__it_is_not_started_twice(fast: Rig) -> None:
    host = fast.launch()
    until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
    host.want(fast.desired)
    until(host.enclaves, host.log)
    host.command("nitro", describe=["empty"] * 5)
    until(lambda: host.faults()["describe"] == [], host.log)
    assert host.wait_phase("running").restarts == 0
    assert len(host.enclaves()) == 1
    fast.end(host)


@pytest.mark.parametrize("python", OTHER_PYTHONS)
def test_boot__other_python_and_nothing_baked__installs_and_runs(
    python: str, tmp_path: Path
) -> None:
    with rig(tmp_path, python=python, baked=False, install=0.1) as up:
        up.stage()
        host = up.launch()
        until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
        host.command("nitro", dnf=1)
        host.want(up.desired)
        assert host.wait_phase("running").restarts == 0
