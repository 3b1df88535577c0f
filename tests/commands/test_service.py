"""`service install` and the unit it places, judged by systemd's own tools."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.service import outdated

from .program import ROOT, oyster_here

pytestmark = pytest.mark.integration

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze on this machine")
PROGRAM = "/usr/bin/true"  # an absolute path that is there, for verify
UNIT = Path("etc/systemd/system/oyster-provider.service")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    done = oyster_here("service", "install", "--root", tmp_path, "--program", PROGRAM, "--yes")
    assert done.returncode == 0, done.stderr
    return tmp_path


@needs_systemd
def test_unit__verified_by_systemd__is_clean(installed: Path) -> None:
    done = _analyze("verify", "--man=no", str(installed / UNIT))
    ours = [line for line in done.stderr.splitlines() if "oyster" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_unit__security_judged_by_systemd__is_at_most_1_5(installed: Path) -> None:
    done = _analyze("security", "--offline=true", "--no-pager", str(installed / UNIT))
    found = re.search(r"Overall exposure level for oyster-provider.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 1.5


@needs_systemd
def test_unit__its_calendar_words__are_times_to_systemd(installed: Path) -> None:
    spans = re.findall(r"^\w+Sec=(\w+)$", (installed / UNIT).read_text(), re.M)
    assert len(spans) == 5
    assert _analyze("timespan", *spans).returncode == 0


def test_unit__restart__does_not_repeat_what_cannot_help(installed: Path) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of keys
    unit.read(installed / UNIT)
    service = unit["Service"]
    assert service["RestartPreventExitStatus"].split() == [
        "2",
        "3",
        "78",
    ]  # usage, MustStop, EX_CONFIG
    assert service["ExecStart"] == f"{PROGRAM} run --config /etc/oyster-provider/config.toml"
    assert service["Type"] == "notify"


def test_install__twice__changes_nothing(installed: Path) -> None:
    before = _files(installed)
    assert oyster_here(
        "service", "install", "--root", installed, "--program", PROGRAM, "--yes"
    ).returncode == 0  # fmt: skip
    assert _files(installed) == before
    assert len(before) == 3


def test_install__a_package_brought_the_unit__is_refused_and_hides_nothing(tmp_path: Path) -> None:
    unit = tmp_path / "usr/lib/systemd/system/oyster-provider.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    done = oyster_here("service", "install", "--root", tmp_path, "--program", PROGRAM, "--yes")
    assert done.returncode == 3
    assert "systemctl enable --now" in done.stderr
    assert set(_files(tmp_path)) == {unit}


def test_uninstall__what_was_placed__is_gone_and_nothing_else(installed: Path) -> None:
    config = installed / "etc/oyster-provider/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("# mine\n")
    done = oyster_here("service", "uninstall", "--root", installed, "--yes", "--json")
    assert len(json.loads(done.stdout)["remove"]) == 3
    assert set(_files(installed)) == {config}
    assert oyster_here("service", "uninstall", "--root", installed, "--yes").returncode == 0


def test_install__dry_run_or_nobody_to_ask__places_nothing(tmp_path: Path) -> None:
    words = ("service", "install", "--root", tmp_path, "--program", PROGRAM)
    assert oyster_here(*words, "--dry-run").returncode == 0
    asked = oyster_here(*words)
    assert (asked.returncode, _files(tmp_path)) == (2, {})
    assert "add --yes" in asked.stderr


@pytest.mark.parametrize("program", ["relative/path", "/opt/with space/x", "/opt/%n/x", "/opt/$X"])
def test_install__a_program_the_unit_cannot_name__is_refused(tmp_path: Path, program: str) -> None:
    done = oyster_here("service", "install", "--root", tmp_path, "--program", program, "--yes")
    assert (done.returncode, _files(tmp_path)) == (2, {})


def test_memory_without_write_and_execute__everything_imports() -> None:
    code = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "import boto3, web3, eth_account, sqlalchemy, httpx, cryptography, starlette, uvicorn\n"
        "eth_account.Account.create().sign_message\n"
        "import asyncio, sqlite3, ssl\n"
        "ssl.create_default_context(); asyncio.run(asyncio.sleep(0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (6.3)")
    assert done.returncode == 0, done.stderr


def _analyze(*words: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, check=False)


def _files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_outdated__what_install_placed__is_current_until_it_differs(installed: Path) -> None:
    assert outdated(installed) == []
    unit = installed / UNIT
    unit.write_text(unit.read_text().replace("WatchdogSec=2min", "WatchdogSec=9min"))
    assert outdated(installed) == [str(unit)]
    (installed / "etc/sysusers.d/oyster-provider.conf").unlink()
    assert len(outdated(installed) or []) == 2
    unit.unlink()
    assert outdated(installed) is None


def test_service_status__nothing_runs__says_so_and_exits_4(tmp_path: Path) -> None:
    done = oyster_here("service", "status", "--json", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert set(found) == {"unit", "active", "enabled", "agent"}
    assert "none.toml" in found["agent"]
    assert "systemctl enable --now" in done.stderr
