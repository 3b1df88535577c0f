"""The package under a real systemd, from `apt install` to `apt purge`, in the order of a life.

`make real`. Each test leaves the service active for the next; what stands in for AWS and the chain
is a devnet outside of the machine, everything else is what a provider has.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.machine import until
from tests.real.packages import NEW, OURS
from tests.real.roots import Unavailable, needs
from tests.real.world import CONFIG, UNIT, World, made

# Only what runs user data: nothing of Debian's defaults may touch the network that is shared.
CLOUD_CONFIG = """\
datasource_list: [NoCloud]
network: {config: disabled}
cloud_init_modules: []
cloud_config_modules: []
cloud_final_modules: [scripts-user]
"""

OUTAGE = int(os.environ.get("OYSTER_REAL_OUTAGE", "20"))
UNITS_LIMIT = 150  # TimeoutStartSec of the unit, and some

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif("OYSTER_REAL" not in os.environ, reason="takes minutes: make real"),
    pytest.mark.skipif(bool(needs()), reason=needs() or "all is there"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        try:
            whole = made(tmp_path_factory.mktemp("real"), stack)
        except Unavailable as why:
            pytest.skip(str(why))
        yield whole


@dataclass(frozen=True)
class Begun:
    """A job that was requested before the service is first started, and the journal's schema."""

    job: int
    version: str
    schema: str


@pytest.fixture(scope="module")
def begun(world: World) -> Begun:
    """By the version before, where it can be had."""
    world.systemctl("enable", "--now", UNIT)
    world.serves()
    number = world.request()
    world.running(number)
    return Begun(number, world.version(), world.schema())


@pytest.fixture(scope="module")
def job(world: World, begun: Begun) -> int:
    """It runs on, under the tree's own version."""
    if begun.version != OURS:
        world.upgrade(OURS)
        world.serves()
    return begun.job


def test_package__installed__is_the_program_and_starts_nothing(world: World) -> None:
    assert world.machine("oyster-provider", "--version").stdout.startswith("oyster-provider 0.1.0")
    assert world.is_(ActiveState="inactive", UnitFileState="disabled")
    refused = world.machine("oyster-provider", "service", "install", "--yes", check=False)
    assert refused.returncode == 3
    assert (world.machine.root / "usr/share/man/man1/oyster-provider.1.gz").is_file()


def test_upgrade__from_a_version_with_an_older_journal__brings_it_and_the_job_along(
    world: World, begun: Begun, job: int
) -> None:
    if begun.version == OURS:
        pytest.skip("no version with an older journal: it is built outside of CI, from the clone")
    assert world.version() == OURS
    assert world.schema() > begun.schema
    timeline = world.oyster("jobs", "show", str(job))
    assert "tx.report_started" in timeline
    assert timeline.count("launch.launched") == 1


def test_service__enabled__runs_as_its_account_and_brings_a_job_to_reported(
    world: World, job: int
) -> None:
    pid = world.shown("MainPID")["MainPID"]
    status = world.machine("cat", f"/proc/{pid}/status").stdout
    account = world.machine("id", "-u", "oyster-provider").stdout.strip()
    assert f"Uid:\t{account}" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert f"job={job}" in world.log()
    until(lambda: "1 running" in world.shown("StatusText")["StatusText"], 30, "STATUS= is not live")


def test_journal__lines_of_each_level__are_found_by_it(world: World, job: int) -> None:
    lines = world.machine("journalctl", "-u", UNIT, "-p", "info", "-o", "cat").stdout
    assert "event=service.started" in lines
    assert "timestamp=" not in lines
    assert "service.started" not in world.log("-p", "warning")


def test_reload__good_then_broken_then_mended__is_answered_and_shown(
    world: World, job: int
) -> None:
    good = (world.machine.root / CONFIG.lstrip("/")).read_text()
    assert world.systemctl("reload", UNIT).returncode == 0
    world.machine.write(CONFIG, good + "\n[nonsense]\nx = 1\n", 0o640)
    refused = world.systemctl("reload", UNIT)
    world.machine.write(CONFIG, good, 0o640)
    assert refused.returncode != 0
    assert "nonsense" in world.shown("StatusText")["StatusText"]
    assert "service.reload_refused" in world.log("-p", "err")
    assert world.is_(ActiveState="active")
    place = world.machine.root / CONFIG.lstrip("/")
    place.unlink()  # as an editor does that writes another file of that name
    world.machine.write(CONFIG, good, 0o600)
    assert world.systemctl("reload", UNIT).returncode == 0
    until(lambda: "1 running" in world.shown("StatusText")["StatusText"], 30, "STATUS= sticks")


def test_service__killed__is_back_and_serves_the_same_job_once(world: World, job: int) -> None:
    world.systemctl("kill", "-s", "KILL", UNIT)
    until(lambda: int(world.shown("NRestarts")["NRestarts"]) == 1, 30, "it was not restarted")
    world.serves()
    until(lambda: "1 running" in world.shown("StatusText")["StatusText"], 30, "the job is lost")
    assert world.log().count(f"launch.launched job={job}") <= 1


def test_service__stopped_by_a_signal_that_hangs_it__is_restarted_by_the_watchdog(
    world: World, job: int
) -> None:
    world.drop_in("WatchdogSec=15s")
    world.systemctl("restart", UNIT)
    world.serves()
    before = world.shown("MainPID")
    world.systemctl("kill", "--kill-who=main", "-s", "STOP", UNIT)
    until(lambda: "watchdog" in world.log("-n", "200").lower() or world.shown("MainPID") != before,
          60, "the watchdog did not bite")  # fmt: skip
    world.drop_in()
    world.serves()
    assert world.shown("MainPID") != before


def test_service__configuration_is_wrong__ends_with_78_and_is_not_restarted(
    world: World, job: int
) -> None:
    good = (world.machine.root / CONFIG.lstrip("/")).read_text()
    world.machine.write(CONFIG, "nonsense = 1\n", 0o640)
    assert world.systemctl("restart", UNIT).returncode != 0
    until(lambda: world.is_(ActiveState="failed", ExecMainStatus="78"), 30, world.log)
    world.machine.write(CONFIG, good, 0o640)


def test_service__another_chain_than_configured__ends_with_3_and_is_not_restarted(
    world: World, job: int
) -> None:
    world.configure({"chain": {"chain_id": 1}})
    world.systemctl("reset-failed", UNIT)
    world.systemctl("restart", UNIT)
    until(lambda: world.is_(ActiveState="failed", ExecMainStatus="3"), 30, world.log)
    assert "chain" in world.log("-p", "err")
    world.configure({"chain": {"chain_id": world.state["given"]["chain"]["chain_id"]}})


def test_service__its_status_address_is_taken__ends_with_69_and_is_restarted_until_it_is_free(
    world: World, job: int
) -> None:
    host, _, port = world.settings()["status"]["listen"].rpartition(":")
    world.systemctl("stop", UNIT)
    world.systemctl("reset-failed", UNIT)
    with socket.create_server((host, int(port))):
        world.systemctl("start", "--no-block", UNIT)
        until(lambda: world.shown("ExecMainStatus")["ExecMainStatus"] == "69", 120, world.log)
        until(lambda: int(world.shown("NRestarts")["NRestarts"]) >= 1, 120, world.log)
        assert "end what has it" in world.log("-p", "err")
    world.serves()


def test_start__nodes_are_away_longer_than_a_start_may_take__waits_and_goes_on(
    world: World, job: int
) -> None:
    """Away for OUTAGE seconds. Where that is less than the unit's own two minutes, as in CI, the
    limit of a start is made a tenth of it: the wait is past it then too."""
    world.systemctl("stop", UNIT)
    for gate in world.gates:
        gate.shut()
    if OUTAGE < UNITS_LIMIT:
        world.drop_in("TimeoutStartSec=12s")
    world.systemctl("reset-failed", UNIT)
    world.systemctl("start", "--no-block", UNIT)
    until(lambda: "waiting to start" in world.shown("StatusText")["StatusText"], 30, world.log)
    time.sleep(OUTAGE)  # what is real here is systemd's clock
    assert world.is_(ActiveState="activating", NRestarts="0")
    for gate in world.gates:
        gate.open()
    world.serves()
    world.drop_in()
    until(lambda: "1 running" in world.shown("StatusText")["StatusText"], 30, world.log)


def test_user_data__run_by_debians_cloud_init__puts_the_host_program_under_systemd(
    world: World, job: int
) -> None:
    """The bytes that the agent sent with RunInstances, and the program that they fetch by digest.

    The host program itself finds nothing to talk to here: the instance that it would be runs in
    the devnet already, and two of one name would write one mailbox.
    """
    if not (world.machine.root / "usr/bin/cloud-init").exists():
        pytest.skip("cloud-init could not be put into the cached root")
    instance = next(iter((world.devnet / "aws/instances").iterdir()))
    world.machine.write("/etc/cloud/cloud.cfg.d/99-test.cfg", CLOUD_CONFIG)
    (world.machine.root / "etc/cloud/cloud-init.disabled").unlink()
    seed = "/var/lib/cloud/seed/nocloud"
    user_data = (instance / "var/lib/cloud/instance/user-data.txt").read_bytes()
    world.machine.write(f"{seed}/user-data", user_data)
    world.machine.write(f"{seed}/meta-data", f"instance-id: {instance.name}\n")
    away = "[Service]\nEnvironment=AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9\n"
    world.machine.write("/etc/systemd/system/oyster-host.service.d/test.conf", away)
    endpoint = world.state["given"]["aws"]["endpoint_url"]
    imds = f"{endpoint}/_devnet/imds/{instance.name}"
    environ = {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds}
    for words in ("init --local", "init", "modules --mode=final"):
        world.machine("cloud-init", *words.split(), environ=environ)
    log = world.machine("cat", "/var/log/cloud-init.log").stdout
    assert "Running module scripts_user" in log or "scripts-user" in log
    until(lambda: world.systemctl("is-active", "oyster-host").stdout.strip() == "active", 30, log)
    (fetched,) = (world.machine.root / "opt/oyster-host").glob("*.pyz")
    assert hashlib.sha256(fetched.read_bytes()).hexdigest() == fetched.stem
    assert world.systemctl("is-enabled", "oyster-host").stdout.strip() == "enabled"
    world.systemctl("disable", "--now", "oyster-host")


def test_upgrade__in_place_with_a_journal__restarts_and_keeps_job_and_history(
    world: World, job: int
) -> None:
    before = world.shown("MainPID")
    world.upgrade(NEW)
    assert world.version() == NEW
    world.serves()
    assert world.shown("MainPID") != before
    timeline = world.oyster("jobs", "show", str(job))
    assert "tx.report_started" in timeline
    assert timeline.count("launch.launched") == 1


def test_machine__rebooted__the_service_is_back_by_itself(world: World, job: int) -> None:
    world.machine.reboot()
    world.serves()
    until(lambda: "1 running" in world.shown("StatusText")["StatusText"], 30, world.log)


def test_stop_and_purge__keep_the_keys_and_say_so(world: World, job: int) -> None:
    begun = time.monotonic()
    assert world.systemctl("stop", UNIT).returncode == 0
    assert time.monotonic() - begun < 30
    assert world.is_(ActiveState="inactive", Result="success")
    said = world.machine("apt-get", "purge", "-y", "oyster-provider")
    assert "is kept: keys" in said.stdout + said.stderr
    root = world.machine.root
    assert (root / "etc/oyster-provider/credentials/keystore").is_file()
    assert not (root / "usr/bin/oyster-provider").exists()
    assert not (root / "opt/oyster-provider").exists()
    assert not Path(root / "usr/lib/systemd/system/oyster-provider.service").exists()
