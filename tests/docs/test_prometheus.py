"""A real Prometheus reads a live agent of a devnet with the shipped rules and dashboard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

import program
from devnet.processes import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("devnet"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on this machine"),
]

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
TYPE = "us-east-1/c6a.xlarge"
SECONDS = 90.0


@dataclass(frozen=True)
class Eyes:
    """A Prometheus, and the pid of the agent that it looks at."""

    url: str
    agent: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result; fails the test where Prometheus refuses the expression."""
        said = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert said["status"] == "success", f"{expression}: {said}"
        return list(said["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def _until(seen: Callable[[], object], otherwise: str) -> None:
    """Other people's servers have no clock to pass in."""
    end = time.monotonic() + SECONDS
    while not seen():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


def _oyster(*words: str, **environ: str) -> str:
    done = subprocess.run(
        program.command(*words), stdin=subprocess.DEVNULL, env={**os.environ, **environ},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _process(log: Path, *command: str, **environ: str) -> Iterator[int]:
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, **environ}, start_new_session=True,
        )  # fmt: skip
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGCONT)
        child.terminate()
        child.wait(30)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eyes]:
    folder = tmp_path_factory.mktemp("prometheus")
    market = str(folder / "market")
    _oyster("devnet", "up", "--detach", "--boot-share", "0", "--dir", market)
    try:
        config = folder / "market/provider.toml"
        environ = {
            "OYSTER_CONFIG": str(config), "AWS_ACCESS_KEY_ID": "devnet",
            "AWS_SECRET_ACCESS_KEY": "devnet",
        }  # fmt: skip
        _oyster("cloud", "setup", **environ)
        _oyster("register", TYPE, "0.17/h", "--stake", "500", "--yes", **environ)
        listen = tomlkit.parse(config.read_text()).unwrap()["status"]["listen"]
        with (
            _process(folder / "agent.log", *program.command("run"), **environ) as agent,
            _prometheus(folder, listen) as url,
        ):
            yield Eyes(url, agent)
    finally:
        _oyster("devnet", "down", "--dir", market)


@contextmanager
def _prometheus(folder: Path, listen: str) -> Iterator[str]:
    """The README's own scrape configuration, sped up."""
    (folder / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    job = {
        "job_name": "oyster-provider", "scrape_interval": "1s",
        "static_configs": [{"targets": [listen]}],
    }  # fmt: skip
    whole = {
        "global": {"evaluation_interval": "1s"}, "rule_files": ["alerts.yml"],
        "scrape_configs": [job],
    }  # fmt: skip
    (folder / "prometheus.yml").write_text(json.dumps(whole))  # YAML is more than JSON
    address = f"127.0.0.1:{free_port()}"
    command = (
        "prometheus", f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}",
    )  # fmt: skip
    with _process(folder / "prometheus.log", *command):
        _until(lambda: _answers(f"http://{address}/-/ready"), "Prometheus does not start")
        yield f"http://{address}"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def _up(eyes: Eyes, value: str) -> bool:
    try:
        return any(one["value"][1] == value for one in eyes.query("up"))
    except (httpx.HTTPError, ValueError, KeyError):
        return False  # it is still starting


def test_agent__read_by_prometheus__is_up_and_ready(eyes: Eyes) -> None:
    _until(lambda: _up(eyes, "1"), "Prometheus does not reach the agent")
    _until(lambda: eyes.query("oyster_ready == 1"), "the agent does not get ready")


def test_dashboard__each_expression__is_taken_and_has_its_metrics(eyes: Eyes) -> None:
    _until(lambda: eyes.query("oyster_stake > 0"), "the figures do not come")
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(panels) >= 20
    for expression in panels:
        eyes.query(expression)
    plain = [each for each in panels if each.isidentifier()]
    without = {each for each in plain if not eyes.query(each)}
    assert without <= {"oyster_nearest_deadline_seconds"}  # no job bootstraps here


def test_rules__evaluated_by_prometheus__are_well_and_quiet(eyes: Eyes) -> None:
    _until(lambda: all(each["health"] == "ok" for each in eyes.rules()), "a rule is not well")
    assert [each for each in eyes.rules() if each.get("lastError")] == []
    assert [each["name"] for each in eyes.rules() if each["state"] == "firing"] == []


def test_alert__the_agent_hangs__is_seen_by_prometheus(eyes: Eyes) -> None:
    """How long it takes to fire promtool's unit tests show; here that the fault reaches it."""
    os.kill(eyes.agent, signal.SIGSTOP)
    try:
        down = "OysterAgentDown"
        _until(
            lambda: any(r["name"] == down and r["state"] == "pending" for r in eyes.rules()),
            "nobody saw it",
        )
    finally:
        os.kill(eyes.agent, signal.SIGCONT)
    _until(lambda: _up(eyes, "1"), "it did not come back")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_rules__read_by_promtool__are_right() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(FOLDER / "alerts.yml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
