"""`doctor`, `capacity` and `report` through the real program, with the world in pieces."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.journal import Event, Journal, LaunchRecord, open_engine
from agent.market.model import Price, Wei
from agent.snapshot import LaunchPhase

from .conftest import POND, TYPE, World
from .program import oyster_here

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"


def test_doctor__nothing_is_set_up__names_each_thing_and_what_to_do(world: World) -> None:
    done = oyster_here("doctor", "--json", environ=_environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY))
    assert done.returncode == 3
    found = {each["check"]: each for each in json.loads(done.stdout)}
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts["key"] == verdicts["chain id"] == verdicts["contract"] == "ok"
    assert verdicts["stake"] == verdicts["AWS identity"] == verdicts["images"] == "fail"
    assert verdicts["nodes"] == "warn"
    assert "oyster-provider stake" in found["stake"]["todo"]
    assert all(each["todo"] for each in found.values() if each["verdict"] == "fail")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_doctor__no_node_answers__still_looks_at_the_rest(world: World) -> None:
    environ = _environ(world, OYSTER_CHAIN__RPC_URLS=NOBODY, OYSTER_IMAGES__GATEWAYS=NOBODY)
    done = oyster_here("doctor", "--json", environ=environ)
    verdicts = {each["check"]: each["verdict"] for each in json.loads(done.stdout)}
    assert verdicts["chain id"] == "fail"
    assert verdicts["contract"] == verdicts["AWS identity"] == "skip"
    assert verdicts["disk"] == "ok"


def test_doctor__wrong_configuration__lists_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[chian]\n[log]\nlevel = "loud"\n')
    done = oyster_here("doctor", "--config", file)
    assert done.returncode == 3
    assert "did you mean chain?" in done.stdout
    assert "'loud' is none of" in done.stdout


def test_report__jobs_that_ran__are_exact_by_job_and_day(world: World) -> None:
    world.config.write_text(
        world.config.read_text().replace('price = "0.17/h"', 'price = "0.17/h"\ncost = "0.1/h"')
    )
    world.send(0, world.calls.approve(world.pond, Wei(100 * POND)))
    world.send(0, world.calls.stake(Wei(100 * POND)))
    world.send(0, world.calls.register(TYPE, Price.parse("0.36/h", 6)))
    job = world.request(deposit=10**6)
    world.send(0, world.calls.report_started(job, "198.51.100.7:1300"))
    started = world.read("job", job)[10]
    world.node.call("evm_increaseTime", 7200)
    world.send(1, world.calls.request_stop(job))
    journal = Journal(open_engine(load(world.config, {}).journal_file))
    journal.event(Event(time.time(), "job.assigned", job, 1))
    journal.launch(
        LaunchRecord(
            started - 60, job, 1, 1, "us-east-1", "c6a.xlarge", LaunchPhase.LAUNCHED, "i-1"
        )
    )
    journal.close()

    (line,) = world.ask("report")
    stopped = world.read("job", job)[12]
    assert float(line["earned tUSD"]) == pytest.approx((stopped - started) * 100 / 1e6, abs=1e-6)
    assert float(line["instance hours"]) == pytest.approx(2.02, abs=0.02)
    assert float(line["margin tUSD"]) == pytest.approx(0.72 - 0.2017, abs=0.01)
    days = world.run("report", "--by-day", "--csv").stdout.splitlines()
    assert days[0] == "day,earned tUSD,cost tUSD,margin tUSD"
    total = sum(float(day.split(",")[1]) for day in days[1:])
    assert total == pytest.approx(float(line["earned tUSD"]), abs=1e-5)
    assert world.ask("report", "--since", "2100-01-01") == []
    assert world.run("report", "--since", "yesterday").returncode == 2


def _environ(world: World, **more: str) -> dict[str, Any]:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    return {
        "OYSTER_CONFIG": str(world.config), "OYSTER_AWS__ENDPOINT_URL": NOBODY, **keys, **more,
    }  # fmt: skip
