"""The host program end to end: real user data, real program, simulated instance, moto's S3."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.account import policies
from devnet.aws import imds
from devnet.aws.imds import may
from devnet.guest import place
from devnet.guest.init_params import written
from enclave.attest.certificates import load_root
from enclave.attest.document import AttestationRefused, Expected, verify
from enclave.attest.init_params import digest_of, pcr16_of
from enclave.host import program
from enclave.host.config import Cadence, Config, Places
from enclave.host.documents import COUNTS, Desired, Egress, Init, Port, Status
from enclave.host.network.orders import Report
from tests.enclave.host.rig import FAST, PORTS, Host, Rig, rig, until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

# Long enough to be hit while it lasts, short enough not to wait for.
PHASE_SECONDS = 0.4
# The oldest that an instance may have and the newest that we know, where this machine has them.
OTHER_PYTHONS = [
    pytest.param(str(path), id=version)
    for version in ("3.9", "3.13")
    for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))[-1:]
]


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("fast")) as up:
        up.stage()
        yield up


@pytest.fixture
def running(fast: Rig) -> Iterator[Host]:
    host = fast.launch()
    host.want(fast.desired)
    host.wait_phase("running")
    yield host
    fast.end(host)


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
    desired = replace(fast.desired, run_id="run-2", image_sha256=_sha256(image))
    running.want(replace(desired, image_bytes=len(image), memory_mib=2048))
    after = running.wait_phase("running", "run-2")
    assert after.pcrs != before.pcrs
    assert len(running.enclaves()) == 1
    assert [path.name for path in (running.root / "var/lib/oyster-host/images").iterdir()] == [
        _sha256(image)
    ]


def test_desired__other_ports__forwarders_follow(running: Host, fast: Rig) -> None:
    before = running.wait_phase("running")
    running.want(replace(fast.desired, ports=(Port(9000, 8080),)))
    assert b'"simulated": true' in running.get(9000, "/hello")
    assert running.refuses(8080)
    assert running.wait_phase("running").enclave_id == before.enclave_id


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


def test_address__elastic_one_associated__leads_to_the_enclave(running: Host, fast: Rig) -> None:
    address = fast.ec2.allocate_address(Domain="vpc")
    fast.ec2.associate_address(InstanceId=running.id, AllocationId=address["AllocationId"])
    url = f"http://{address['PublicIp']}:8080/"

    def ask() -> bytes | None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    assert running.id.encode() in until(ask, running.log)
    fast.ec2.release_address(AllocationId=address["AllocationId"])


def test_enclave__will_not_start__fails_after_five_restarts_with_its_words(fast: Rig) -> None:
    host = fast.launch()
    until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
    host.command("nitro", run=["E36"] * 20)
    host.want(fast.desired)
    status = host.wait_phase("failed")
    assert "[ E36 ] Enclave boot failure" in (status.last_error or "")
    assert "VsockTimeoutError" in (status.last_error or "")
    assert len(place_faults(host)["run"]) == 20 - 6
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
    host.want(replace(desired, image_sha256=_sha256(padded), image_bytes=len(padded)))
    assert "[ E26 ]" in (host.wait_phase("failed").last_error or "")
    fast.end(host)


def test_image__other_bytes_under_its_name__never_runs(fast: Rig, tmp_path: Path) -> None:
    wanted = fast.make_image(tmp_path, "wanted")
    fast.put(f"images/{_sha256(wanted)}", wanted[:-1] + b"\xff")
    host = fast.launch()
    host.want(replace(fast.desired, image_sha256=_sha256(wanted), image_bytes=len(wanted)))
    status = host.wait_phase("failed")
    assert "another digest" in (status.last_error or "")
    assert list((host.root / "var/lib/oyster-host/images").iterdir()) == []
    fast.end(host)


def test_image__staged_late__is_waited_for(fast: Rig, tmp_path: Path) -> None:
    image = fast.make_image(tmp_path, "late")
    host = fast.launch()
    host.want(replace(fast.desired, image_sha256=_sha256(image), image_bytes=len(image)))
    host.wait(lambda one: one.phase == "fetching" and "HTTP 403" in (one.last_error or ""))
    fast.stage(image)
    assert host.wait_phase("running").last_error is None
    fast.end(host)


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


def test_describe__lists_it_late_after_its_start__it_is_not_started_twice(fast: Rig) -> None:
    host = fast.launch()
    until(lambda: (host.root / "etc/devnet-machine.json").exists(), host.log)
    host.want(fast.desired)
    until(host.enclaves, host.log)
    host.command("nitro", describe=["empty"] * 5)
    until(lambda: place_faults(host)["describe"] == [], host.log)
    assert host.wait_phase("running").restarts == 0
    assert len(host.enclaves()) == 1
    fast.end(host)


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


def test_network__port_taken_and_name_near__their_words_reach_the_status(fast: Rig) -> None:
    host = fast.launch()
    address = until(lambda: fast.aws.ec2.records[host.id].public_ip, host.log)
    with socket.create_server((address, 8443)):
        way = Egress(9001, "localhost", 22)
        host.want(replace(fast.desired, ports=(*PORTS, Port(8443, 8443)), egress=(way,)))
        status = host.wait(lambda one: "out-9001" in (one.last_error or ""))
        words = status.last_error or ""
        assert f"in-8443: cannot listen on TCP {address}:8443: Address already in use" in words
        assert "out-9001: localhost leads to 127.0.0.1 (loopback)" in words
        host.get(1300, "/attestation/raw")
    host.wait(lambda one: "8443" not in (one.last_error or ""))
    fast.end(host)


def test_network__bytes_went__are_counted_in_the_status(running: Host) -> None:
    assert running.get(1300, "/attestation/raw")
    counts = running.wait(lambda one: one.traffic.get("in-1300", {}).get("bytes_out", 0) > 0)
    assert counts.traffic["in-1300"]["accepted"] >= 1
    assert set(counts.traffic) == {"in-1300", "in-8080"}


def test_counted__drops_change_all_the_time__are_told_as_rarely_as_bytes(tmp_path: Path) -> None:
    host = program.Host(Config("us-east-1", "b", "p", "k", "d"), Places(tmp_path), "i-1")
    counts = {"packets": dict.fromkeys(COUNTS, 1)}
    host._report = Report(counts=counts, drops={"near": 1})
    first = host._counted(1e9)
    assert first == {"traffic": counts, "drops": {"near": 1}}
    host._wrote = Status("running", "r", 1e9, "p", "i-1", **first)
    host._report = Report(counts=counts, drops={"near": 99, "mail": 1})
    assert host._counted(1e9 + Cadence().traffic - 1) == first
    assert host._counted(1e9 + Cadence().traffic)["drops"] == {"near": 99, "mail": 1}


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


def test_console__of_a_debug_enclave__is_served_kept_over_a_reboot_and_removed(fast: Rig) -> None:
    host = fast.launch()
    kept = host.root / "var/lib/oyster-host/console"
    host.want(replace(fast.desired, enclave_cid=77, debug=True, console=True))
    host.wait_phase("running")
    until(lambda: json.loads(host.get(516, "/logs/tail-log-id"))["log_id"] == 3, host.log)
    history = json.loads(host.get(516, "/logs/history?log_id=3&offset=2"))
    assert history == ["[1] Connecting to the console for enclave 77...",
                       "[2] Successfully connected to the console."]  # fmt: skip
    with host.connection(516) as sock:
        sock.sendall(b"GET /logs/stream?start_from=3 HTTP/1.1\r\n\r\n")
        got = b""
        while not got.endswith(b"\n\n"):
            got += sock.recv(4096)
    assert got.endswith(b"data:[3] [    0.000000] simulated\n\n")
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    host.command("reboot")
    until(lambda: json.loads(host.get(516, "/logs/tail-log-id"))["log_id"] == 6, host.log)
    again = json.loads(host.get(516, "/logs/history?log_id=5&offset=4"))
    assert again == [history[0], history[1], "[3] [    0.000000] simulated",
                     history[0].replace("[1]", "[4]")]  # fmt: skip
    host.want(replace(fast.desired, enclave_cid=77, debug=True))
    assert host.refuses(516)
    until(lambda: not kept.exists(), host.log)
    assert host.wait(lambda one: "console" not in (one.last_error or "")).last_error is None
    fast.end(host)


PARTS = {"docker-compose.yml": b"services: {}", "secret": b"x" * 70_000}


def standard(fast: Rig, params: bytes) -> Desired:
    """Orders for an image that asks its host at its start."""
    init = Init("0x" + "0" * 63 + "7", _sha256(params), len(params))
    return replace(fast.desired, run_id="run-s", enclave_cid=88, init=init)


def test_init__params_are_staged__arrive_and_are_proven_by_pcr16(fast: Rig) -> None:
    params, host = written(PARTS), fast.launch()
    desired = standard(fast, params)
    fast.put(f"params/{_sha256(params)}", params)
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
    fast.put(f"params/{_sha256(params)}", params[:-1] + b" ")
    host.want(standard(fast, params + b" "))
    fast.put(f"params/{_sha256(params + b' ')}", params + b"\n")
    status = host.wait(lambda one: "another digest" in (one.last_error or ""))
    assert status.enclave_id is None
    assert host.enclaves() == []
    fast.end(host)


def test_init__params_are_not_what_they_say__the_enclave_ends_as_a_standard_one_does(
    fast: Rig,
) -> None:
    params, host = b'{"digest": "AAAA", "params": []}', fast.launch()
    fast.put(f"params/{_sha256(params)}", params)
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
    fast.put(f"params/{_sha256(params)}", params)
    host.want(standard(fast, params))
    host.wait_phase("running", "run-s")
    fast.end(host)
    allowed = {("GET", key) for key in imds.allowed_keys("s3:GetObject")}
    allowed |= {("PUT", key) for key in imds.allowed_keys("s3:PutObject")}
    assert asked == allowed
    statements = policies.render("host", account="1" * 12, prefix="oyster")["Statement"]
    assert {one["Action"] for one in statements} == {"s3:GetObject", "s3:PutObject"}


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


@pytest.mark.parametrize("phase", ["booted", "fetching", "allocating", "starting"])
def test_host__killed_in_phase__ends_up_running_once(slow: Rig, phase: str, tmp_path: Path) -> None:
    image = slow.make_image(tmp_path, f"killed-{phase}")
    desired = replace(slow.desired, image_sha256=_sha256(image), image_bytes=len(image))
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


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("slow")
    with rig(directory, allocate=PHASE_SECONDS, enclave_boot=PHASE_SECONDS) as up:
        yield up


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


def place_faults(host: Host) -> dict[str, list[str]]:
    return dict(json.loads((host.root / "etc/devnet-faults.json").read_text()))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
