"""The same package on Debian 13: another Python, another systemd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.machine import Machine, until
from tests.real.packages import OLD, built
from tests.real.roots import NEWER_SUITE, Unavailable, why_not_newer

CONFIG = "/etc/oyster-provider/config.toml"
UNIT = "oyster-provider.service"
HELD = "/etc/oyster-provider/credentials"
WHY = why_not_newer()
INIT = (
    "init", CONFIG, "--chain-id", "31337", "--registry", "0x" + "11" * 20,
    "--rpc-url", "http://127.0.0.1:9", "--rpc-url", "http://127.0.0.1:7", "--region", "us-east-1",
    "--offer", "us-east-1/c6a.xlarge=0.17/h", "--keystore", "credential:keystore",
    "--password", "credential:keystore-password",
)  # fmt: skip

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    try:
        with Machine(tmp_path_factory.mktemp("newer") / "machine", NEWER_SUITE, ()) as one:
            place = f"/root/oyster-provider_{OLD}.deb"
            one.write(place, built().read_bytes())
            one("apt-get", "install", "-y", place)
            yield one
    except Unavailable as why:
        pytest.skip(str(why))


def test_package__on_debian_13__leads_straight_to_init(machine: Machine) -> None:
    python = machine("/opt/oyster-provider/bin/python3", "--version").stdout
    assert python.startswith("Python 3.13")
    assert machine("oyster-provider", "--version").stdout.startswith("oyster-provider 0.1.0")
    assert machine("systemctl", "is-enabled", UNIT, check=False).stdout.strip() == "disabled"
    assert machine("systemd-analyze", "verify", UNIT).stderr == ""
    assert f"wrote {CONFIG}" in machine("oyster-provider", *INIT).stdout


def test_service__on_debian_13__starts_and_waits_for_its_nodes(machine: Machine) -> None:
    """No node is there: the whole agent has been imported and its configuration read by then."""
    secret = "a password of this test's own, long enough"
    machine.write(f"{HELD}/keystore-password", f"{secret}\n", 0o600)
    machine.write(f"{HELD}/aws-credentials", "[default]\n", 0o600)
    machine("oyster-provider", "keys", "new", "--out", f"{HELD}/keystore",
            "--password-file", f"{HELD}/keystore-password")  # fmt: skip
    if not (machine.root / CONFIG.lstrip("/")).exists():
        machine("oyster-provider", *INIT)
    machine("systemctl", "start", "--no-block", UNIT)

    def status() -> str:
        return machine("systemctl", "show", UNIT, "-pStatusText").stdout

    def log() -> str:
        return machine("journalctl", "-u", UNIT, "-o", "cat", check=False).stdout

    until(lambda: "waiting to start" in status(), 60, log)
    machine("systemctl", "stop", UNIT)


def test_purge__on_debian_13__leaves_the_keys_alone(machine: Machine) -> None:
    machine("apt-get", "purge", "-y", "oyster-provider")
    assert not Path(machine.root / "opt/oyster-provider").exists()
