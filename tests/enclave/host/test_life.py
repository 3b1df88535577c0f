"""A host and its enclave: either dies, hangs, is killed or can't be asked, and one enclave runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.guest import place
from enclave.attest.certificates import load_root
from enclave.attest.document import AttestationRefused, Expected, verify
from tests.enclave.host.rig import FAST, Host, Rig, rig, sha256, until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

# Long enough to be hit while it lasts, short enough not to wait for.
PHASE_SECONDS = 0.4


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("slow")
    with rig(directory, allocate=PHASE_SECONDS, enclave_boot=PHASE_SECONDS) as up:
        yield up


def test_enclave__dies__is_restarted_and_counted(running: Host) -> None:
    before = running.wait_phase("running")
    running.command("enclave_die")
    after = running.wait(lambda one: one.restarts == 1 and one.phase == "running")
    assert after.enclave_id != before.enclave_id
    running.get(1300, "/attestation/raw")


def test_enclave__hangs__a_new_run_id_replaces_it(running: Host, fast: Rig) -> None:
    before = running.wait_phase("running")
    assert running.command("enclave_hang") == {"stopped": 1}
    running.want(replace(fast.desired, run_id="run-2"))
    after = running.wait_phase("running", "run-2")
    assert after.enclave_id != before.enclave_id
    assert b"simulated" in running.get(8080, "/")


def test_enclave__lies__its_document_is_refused(running: Host, fast: Rig) -> None:
    running.command("enclave_lie", lie="WRONG_PCR4")
    document = running.get(1300, "/attestation/raw")
    root = load_root(fast.fleet.attestation_root.read_bytes())
    with pytest.raises(AttestationRefused, match="instance"):
        verify(document, at=time.time(), expected=Expected(instance_id=running.id), root=root)


def test_enclave__stuck_terminating__is_said_and_what_is_waited_for(
    running: Host, fast: Rig
) -> None:
    before = running.wait_phase("running")
    running.command("nitro", terminate=["stuck"] * 100)
    running.want(replace(fast.desired, run_id="run-2"))
    status = running.wait(lambda one: "is TERMINATING since" in (one.last_error or ""))
    assert f"enclave {before.enclave_id} is TERMINATING since 2" in (status.last_error or "")
    assert "[ E39 ]" in (status.last_error or "")
    assert (status.phase, status.run_id) == ("allocating", "run-2")


def test_s3__down__enclave_is_kept_and_restarted_and_then_reported(
    running: Host, fast: Rig
) -> None:
    before = running.wait_phase("running")
    fast.faulty.faults(s3_down=True)
    try:
        running.command("enclave_die")
        until(
            lambda: any(one["EnclaveID"] != before.enclave_id for one in running.enclaves()),
            running.log,
        )
        running.get(1300, "/attestation/raw")
    finally:
        fast.faulty.faults(s3_down=False)
    told = running.wait(lambda one: one.restarts == 1 and one.last_error is None)
    assert told.phase == "running"


def test_nitro_cli__cannot_describe__ports_stay_open(running: Host) -> None:
    before = running.wait_phase("running")
    running.command("nitro", describe=["E39"] * 1000)
    status = running.wait(lambda one: "E39" in (one.last_error or ""))
    assert (status.phase, status.enclave_id) == ("running", before.enclave_id)
    running.get(1300, "/attestation/raw")
    running.command("nitro", describe=[])
    assert running.wait(lambda one: one.last_error is None).restarts == 0


def test_describe__lists_nothing_for_a_while__the_living_enclave_is_kept(
    running: Host, fast: Rig
) -> None:
    before = running.wait_phase("running")
    running.command("nitro", describe=["empty"] * 1000)
    status = running.wait(lambda one: "does not list" in (one.last_error or ""))
    assert (status.phase, status.restarts) == ("running", 0)
    running.get(1300, "/attestation/raw")
    running.command("nitro", describe=[])
    after = running.wait(lambda one: one.last_error is None)
    assert (after.enclave_id, after.restarts) == (before.enclave_id, 0)


def test_host__killed_while_running__adopts_enclave_and_forwarders(running: Host) -> None:
    before = running.wait_phase("running")
    running.get(8080, "/")
    with running.connection(8080) as kept:
        assert running.command("kill_host") == {"killed": "1"}
        after = running.wait(lambda one: one.heartbeat > before.heartbeat + FAST.heartbeat)
        assert (after.enclave_id, after.restarts) == (before.enclave_id, 0)
        assert after.phases == before.phases
        kept.sendall(b"GET /still HTTP/1.0\r\n\r\n")
        assert b"/still" in b"".join(iter(lambda: kept.recv(4096), b""))


@pytest.mark.parametrize("phase", ["booted", "fetching", "allocating", "starting"])
def test_host__killed_in_phase__ends_up_running_once(slow: Rig, phase: str, tmp_path: Path) -> None:
    image = slow.make_image(tmp_path, f"killed-{phase}")
    desired = replace(slow.desired, image_sha256=sha256(image), image_bytes=len(image))
    host = slow.launch()
    if phase != "fetching":
        slow.stage(image)
    if phase != "booted":
        host.want(desired)
    host.wait(lambda one: phase in one.phases)
    assert host.command("kill_host") == {"killed": "1"}
    slow.stage(image)
    host.want(desired)
    status = host.wait_phase("running")
    assert len(host.enclaves()) == 1
    assert status.restarts == 0
    host.get(1300, "/attestation/raw")
    slow.end(host)


def test_instance__rebooted__runs_the_same_again(running: Host) -> None:
    before = running.wait_phase("running")
    running.command("reboot")
    after = running.wait(lambda one: one.phase == "running" and one.enclave_id != before.enclave_id)
    assert after.restarts == 1
    running.get(1300, "/attestation/raw")


def test_instance__terminated__no_process_is_left(fast: Rig) -> None:
    host = fast.launch()
    host.want(fast.desired)
    host.wait_phase("running")
    (enclave,) = host.enclaves()
    session = os.getsid(enclave["ProcessID"])
    assert len(place.session(session)) >= 4
    fast.end(host)
    until(lambda: place.session(session) == [], lambda: str(place.session(session)))
