"""Init params from the bucket into the enclave, proven by PCR16; all that a host asks AWS for."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from cloud.account import policies
from devnet.aws import imds
from devnet.aws.imds import may
from devnet.guest.init_params import written
from enclave.attest.certificates import load_root
from enclave.attest.document import AttestationRefused, Expected, verify
from enclave.attest.init_params import digest_of, pcr16_of
from enclave.host.documents import Desired, Init
from tests.enclave.host.rig import FAST, Rig, sha256

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

PARTS = {"docker-compose.yml": b"services: {}", "secret": b"x" * 70_000}


def standard(fast: Rig, params: bytes) -> Desired:
    """Orders for an image that asks its host at its start."""
    init = Init("0x" + "0" * 63 + "7", sha256(params), len(params))
    return replace(fast.desired, run_id="run-s", enclave_cid=88, init=init)


def test_init__params_are_staged__arrive_and_are_proven_by_pcr16(fast: Rig) -> None:
    params, host = written(PARTS), fast.launch()
    desired = standard(fast, params)
    fast.put(f"params/{sha256(params)}", params)
    host.want(desired)
    status = host.wait_phase("running", "run-s")
    assert (status.enclave_cid, status.restarts, status.last_error) == (88, 0, None)
    said = json.loads(host.get(8080, "/"))["init"]
    assert said == {"ip": "192.0.0.2", "job": desired.init.job if desired.init else ""}
    digest = digest_of(params)
    assert digest is not None
    expected = Expected(pcrs={16: pcr16_of(digest)}, instance_id=host.id)
    root = load_root(fast.fleet.attestation_root.read_bytes())
    document = host.get(1300, "/attestation/raw")
    verify(document, at=time.time(), expected=expected, root=root)
    other = Expected(pcrs={16: pcr16_of(bytes(32))})
    with pytest.raises(AttestationRefused):
        verify(document, at=time.time(), expected=other, root=root)
    assert host.command("kill_host") == {"killed": "1"}
    after = host.wait(lambda one: one.heartbeat > status.heartbeat + FAST.heartbeat)
    assert (after.enclave_id, after.restarts) == (status.enclave_id, 0)
    fast.end(host)


def test_init__other_bytes_under_the_name__no_enclave_is_started(fast: Rig) -> None:
    params, host = written(PARTS), fast.launch()
    fast.put(f"params/{sha256(params)}", params[:-1] + b" ")
    host.want(standard(fast, params + b" "))
    fast.put(f"params/{sha256(params + b' ')}", params + b"\n")
    status = host.wait(lambda one: "another digest" in (one.last_error or ""))
    assert status.enclave_id is None
    assert host.enclaves() == []
    fast.end(host)


def test_init__params_are_not_what_they_say__the_enclave_ends_as_a_standard_one_does(
    fast: Rig,
) -> None:
    params, host = b'{"digest": "AAAA", "params": []}', fast.launch()
    fast.put(f"params/{sha256(params)}", params)
    host.want(standard(fast, params))
    status = host.wait(lambda one: "[ E36 ]" in (one.last_error or ""))
    assert "another digest than they say" in (status.last_error or "")
    fast.end(host)


def test_policy__a_host_s_life__asks_for_all_that_is_allowed_and_nothing_else(
    fast: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[str, str]] = set()

    def heard(host: tuple[str, str], method: str, path: str) -> bool:
        key = path.split("/", 2)[2].replace(f"{host[1]}:{host[0]}", "${aws:userid}")
        folder = key.partition("/")[0]
        asked.add((method, key if folder == "hosts" else f"{folder}/*"))
        return may(host, method, path)

    monkeypatch.setattr(imds, "may", heard)
    params, host = written(PARTS), fast.launch()
    fast.put(f"params/{sha256(params)}", params)
    host.want(standard(fast, params))
    host.wait_phase("running", "run-s")
    fast.end(host)
    allowed = {("GET", key) for key in imds.allowed_keys("s3:GetObject")}
    allowed |= {("PUT", key) for key in imds.allowed_keys("s3:PutObject")}
    assert asked == allowed
    statements = policies.render("host", account="1" * 12, prefix="oyster")["Statement"]
    assert {one["Action"] for one in statements} == {"s3:GetObject", "s3:PutObject"}
