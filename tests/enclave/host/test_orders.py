"""What desired.json says is what runs, on the same instance; what it can't say changes nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.aws.imds import may
from enclave.attest.certificates import load_root
from enclave.attest.document import Expected, verify
from tests.enclave.host.rig import Host, Rig, sha256

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]


def test_boot__desired_and_image_staged__runs_and_attests(running: Host, fast: Rig) -> None:
    status = running.wait_phase("running")
    document = running.get(1300, "/attestation/raw?nonce=abcd")
    pcrs = {int(name[3:]): value for name, value in status.pcrs.items()}
    expected = Expected(pcrs=pcrs, instance_id=running.id, nonce=b"\xab\xcd")
    root = load_root(fast.fleet.attestation_root.read_bytes())
    verify(document, at=time.time(), expected=expected, root=root)
    assert set(status.phases) >= {"booted", "starting", "running"}
    assert status.program == fast.digest
    assert status.enclave_cid == 16
    assert (status.restarts, status.last_error) == (0, None)


def test_desired__the_same_again__changes_nothing(running: Host, fast: Rig) -> None:
    before = running.wait_phase("running")
    running.want(fast.desired)
    after = running.wait(lambda one: one.heartbeat > before.heartbeat)
    assert (after.enclave_id, after.phases) == (before.enclave_id, before.phases)


def test_desired__debug_switched_on__same_instance_other_enclave(running: Host, fast: Rig) -> None:
    before = running.wait_phase("running")
    running.want(replace(fast.desired, debug=True))
    after = running.wait(lambda one: one.enclave_id not in (None, before.enclave_id))
    assert after.restarts == 0
    (enclave,) = running.enclaves()
    assert enclave["Flags"] == "DEBUG_MODE"
    running.get(1300, "/attestation/raw")


def test_desired__another_image_and_more_memory__old_one_is_replaced(
    running: Host, fast: Rig, tmp_path: Path
) -> None:
    image = fast.make_image(tmp_path, "other")
    fast.stage(image)
    before = running.wait_phase("running")
    desired = replace(fast.desired, run_id="run-2", image_sha256=sha256(image))
    running.want(replace(desired, image_bytes=len(image), memory_mib=2048))
    after = running.wait_phase("running", "run-2")
    assert after.pcrs != before.pcrs
    assert len(running.enclaves()) == 1
    assert [path.name for path in (running.root / "var/lib/oyster-host/images").iterdir()] == [
        sha256(image)
    ]


@pytest.mark.parametrize(
    "body",
    [b"not json", b'{"schema": 99}', b'{"schema": 1, "run_id": "$(reboot)"}', b"[" * 70000],
    ids=["text", "schema", "shell", "huge"],
)
def test_desired__not_understood__is_refused_and_the_old_goes_on(
    running: Host, body: bytes
) -> None:
    before = running.wait_phase("running")
    running.put_desired(body)
    after = running.wait(lambda one: one.last_error is not None)
    assert "refused" in (after.last_error or "")
    assert (after.phase, after.enclave_id) == ("running", before.enclave_id)


def test_role__another_hosts_folder__is_denied(fast: Rig, running: Host) -> None:
    other = fast.launch()
    key = f"hosts/{fast.role_id}:{running.id}/status.json"
    credentials = fast.aws._imds._credentials(fast.aws.ec2.records[other.id])
    assert other.id in credentials
    host = fast.aws._imds.host_of(credentials.split('"AccessKeyId": "')[1].split('"')[0])
    assert host is not None
    assert not may(host, "PUT", f"/oyster-test/{key}")
    assert may(host, "PUT", f"/oyster-test/hosts/{fast.role_id}:{other.id}/status.json")
    fast.end(other)
