"""The operator's way on a whole devnet: set up, doctor, register, run as systemd would, look, stop.

The unit's own exec line is started with a notify socket: where this was written and in CI no
systemd runs as the first process, `systemd-run --user` finds no bus, and systemd-nspawn needs a
host that has one. The unit's words are judged by systemd's own tools in test_service.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import program
from agent.config import load
from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import LaunchRecord
from agent.journal.writing import Journal
from agent.market.model import JobId
from agent.wiring.adapters import cloud_settings, provider_address
from cloud.ec2.described import tag_specifications
from cloud.model import Identity
from devnet.state import environment
from devnet.up import Options, running

from .program import ROOT, oyster, oyster_here

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("operator"),  # one devnet for all of them
]

TYPE = "us-east-1/c6a.xlarge"
UNIT = ROOT / "systemd" / "oyster-provider.service"


class Operator:
    """Runs commands against one devnet with its configuration."""

    def __init__(self, environ: dict[str, str], config: Path) -> None:
        self.environ = environ
        self.config = config

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return oyster_here(*words, environ=self.environ)

    def ask(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running(Options(tmp_path_factory.mktemp("operator"))) as up:
        environ = environment(up.devnet)
        yield Operator(environ, Path(environ["OYSTER_CONFIG"]))


@pytest.fixture(scope="module")
def ready(operator: Operator) -> Operator:
    """Before and after: the doctor finds what is missing, the commands put it right."""
    before = oyster_here("doctor", "--json", environ=operator.environ)
    failed = {each["check"] for each in json.loads(before.stdout) if each["verdict"] == "fail"}
    assert before.returncode == 3
    assert {"stake", "AWS identity"} <= failed
    assert operator.run("cloud", "setup").returncode == 0
    done = operator.run("register", TYPE, "0.17/h", "--stake", "500", "--yes")
    assert done.returncode == 0, done.stderr
    return operator


def test_doctor__everything_is_set_up__finds_nothing_that_fails(ready: Operator) -> None:
    found = {each["check"]: each for each in ready.ask("doctor")}
    assert not [each for each in found.values() if each["verdict"] == "fail"]
    assert found["stake"]["found"].endswith("enough for 5 more jobs")
    assert found["us-east-1"]["verdict"] == "ok"
    assert found[TYPE]["verdict"] in ("ok", "warn")
    assert found[TYPE]["found"].startswith("may launch")
    assert found["clock by AWS"]["verdict"] == found["bugs"]["verdict"] == "ok"
    assert found["images"]["verdict"] == "ok", "the devnet's gateway serves the known block"
    assert found[f"quotas {TYPE}"]["found"] == (
        "L-1216C47A: 0 of 1920 vCPUs in use, one more job takes 4"
    )
    assert "s3:PutObject" in found["permissions us-east-1"]["found"]
    assert _reservations(ready) == [], "the rehearsal buys nothing"
    (room,) = ready.ask("capacity")
    assert (room["type"], room["stake"]) == (TYPE, 5)


def test_run__started_as_the_unit_does__speaks_systemds_protocol(
    ready: Operator, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environ = {
            **os.environ, **ready.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "120000000",
        }  # fmt: skip
        with subprocess.Popen(
            _exec_line(ready.config), cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
        ) as agent:
            try:
                assert b"EXTEND_TIMEOUT_USEC=" in manager.recv(4096), "nothing was read yet"
                _until(manager, b"READY=1")
                _until(manager, b"WATCHDOG=1")
                _look(ready)
                agent.send_signal(signal.SIGHUP)
                _until(manager, b"RELOADING=1")
                _until(manager, b"READY=1")
                agent.send_signal(signal.SIGTERM)
                _until(manager, b"STOPPING=1")
                _, log = agent.communicate(timeout=30)
            finally:
                agent.kill()
        assert agent.returncode == 0, log
        assert "Traceback" not in log, log
    assert ready.run("status").returncode == 4


def test_offers__beside_a_running_agent__agent_file_and_chain_agree_when_it_returns(
    ready: Operator,
) -> None:
    """Nothing is undone by the agent, and nothing waits for a reload."""
    dear, cheap = "us-east-1/c6a.2xlarge", TYPE
    with _agent(ready):
        done = ready.run("offers", "set", cheap, "0.165/h", "--yes")
        assert done.returncode == 0, done.stderr
        assert f"agent, file and chain agree: {cheap} at 0.165/h (block" in done.stdout
        assert ready.run("register", dear, "0.35/h", "--yes").returncode == 0
        view = ready.ask("status")
        assert view["health"]["word"] in ("serving", "look"), view["health"]
        assert view["file"] == []
        rows = {row["instance_type"]: row for row in view["types"]}
        assert rows[dear]["wanted"] == rows[dear]["listing"]
        assert rows[cheap]["wanted"] == rows[cheap]["listing"]
        for name, said in (("nope.large", "no such type"), ("t3.micro", "Enclaves")):
            no = ready.run("offers", "set", f"us-east-1/{name}", "0.05/h", "--yes")
            assert no.returncode == 3
            assert said in no.stderr
        assert ready.run("offers", "remove", dear, "--yes").returncode == 0
        assert ready.run("offers", "set", cheap, "0.17/h", "--yes").returncode == 0
        rows = {row["instance_type"]: row for row in ready.ask("status")["types"]}
        assert dear not in rows
        assert ready.run("pause", "--yes").returncode == 0
        view = ready.ask("status")
        assert (view["closed"], [row["listed"] for row in view["types"]]) == ("paused", [False])
        assert ready.run("resume", "--yes").returncode == 0
        assert ready.run("exit", "--all", "--wait", "--yes").returncode == 0, "no job is left"
        assert ready.run("exit", "--cancel", "--yes").returncode == 0
    assert [offer.type for offer in load(ready.config, ready.environ).offers] == [cheap]


@contextmanager
def _agent(ready: Operator) -> Iterator[None]:
    """The agent of this configuration, from its first answer on."""
    environ = {**os.environ, **ready.environ}
    line = program.command("run")
    with subprocess.Popen(line, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL) as agent:
        try:
            for _ in range(120):
                if ready.run("status").returncode == 0:
                    break
                time.sleep(0.5)
            yield
        finally:
            agent.terminate()
            agent.wait(timeout=30)


def test_run__a_region_was_taken_out_where_an_instance_lives__refuses_to_start(
    ready: Operator,
) -> None:
    """What lives in a region that nobody lists would be paid for ever."""
    instance = _forgotten(ready, "eu-west-1")
    done = oyster("run", environ=ready.environ)
    assert (done.returncode, done.stdout) == (3, "")
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("error: region eu-west-1 was taken out of aws.regions")
    assert instance in said
    told = _retired(oyster_here("doctor", "--json", environ=ready.environ).stdout)
    assert told["verdict"] == "fail"
    assert instance in told["found"]
    with _ec2(ready, "eu-west-1") as ec2:
        ec2.terminate_instances(InstanceIds=[instance])
    assert _retired(ready.run("doctor", "--json").stdout)["verdict"] == "ok"


def _retired(doctor: str) -> dict[str, str]:
    (found,) = [each for each in json.loads(doctor) if each["check"] == "retired regions"]
    assert isinstance(found, dict)
    return found


def _forgotten(ready: Operator, region: str) -> str:
    """An instance of a job that the journal knows, in a region that is not configured."""
    config, job = load(ready.config, ready.environ), JobId(77)
    owner = cloud_settings(config, asyncio.run(provider_address(config))).owner
    identity = Identity(owner.chain_id, owner.contract.lower(), owner.provider.lower(), job, 1, 1)
    with _ec2(ready, region) as ec2:
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        made = ec2.run_instances(
            ImageId=image, InstanceType="c6a.xlarge", MinCount=1, MaxCount=1,
            TagSpecifications=tag_specifications(identity),
        )  # fmt: skip
    instance = str(made["Instances"][0]["InstanceId"])
    journal = Journal(open_file(config.journal_file))
    at = time.time() - 3600
    launched = LaunchPhase.LAUNCHED
    journal.launch(LaunchRecord(at, job, 1, 1, region, "c6a.xlarge", launched, instance))
    journal.close()
    return instance


def _look(ready: Operator) -> None:
    """What people and programs see of the running agent."""
    view = ready.ask("status")
    assert (view["stalled"], view["jobs"]) == (False, [])
    listen = re.search(r'^listen = "(.+)"', ready.config.read_text(), re.M)
    assert listen
    with httpx.Client(base_url=f"http://{listen[1]}", trust_env=False) as client:
        assert client.get("/healthz").text == "ok\n"
        assert "oyster_build_info" in client.get("/metrics").text
        assert client.post("/jobs").status_code == 405


def _reservations(ready: Operator) -> list[Any]:
    with _ec2(ready, "us-east-1") as ec2:
        found: list[Any] = ec2.describe_instances()["Reservations"]
    return found


@contextmanager
def _ec2(ready: Operator, region: str) -> Iterator[Any]:
    import boto3

    ec2 = boto3.client(
        "ec2", region_name=region, endpoint_url=ready.environ["AWS_ENDPOINT_URL"],
        aws_access_key_id="x", aws_secret_access_key="x",
    )  # fmt: skip
    try:
        yield ec2
    finally:
        ec2.close()


def _exec_line(config: Path) -> list[str]:
    """ExecStart of the unit, with this program and this configuration in their places."""
    line = re.search(r"^ExecStart=(\S+) (.+)$", UNIT.read_text(), re.M)
    assert line
    words = line[2].replace("/etc/oyster-provider/config.toml", str(config)).split()
    return program.command(*words)


def _until(manager: socket.socket, wanted: bytes) -> None:
    for _ in range(1000):
        if wanted in manager.recv(4096):
            return
    raise AssertionError(f"never said {wanted!r}")
