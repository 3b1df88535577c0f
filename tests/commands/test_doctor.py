"""`doctor`, `capacity` and `report` through the real program, with the world in pieces."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import Event, LaunchRecord
from agent.journal.writing import Journal
from agent.market.model import JobId, Price, Wei
from devnet.ipfs.blocks import RAW_TYPE, Blocks, Gateway, Refusal

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
    assert verdicts["contract"] == verdicts["clock"] == verdicts["stake"] == "skip"
    assert verdicts["key"] == verdicts["disk"] == "ok"
    assert verdicts["AWS identity"] == "fail", "AWS is looked at all the same"


def test_doctor__the_key_is_gone__still_looks_at_chain_and_aws(world: World) -> None:
    (world.config.parent / "key").unlink()
    environ = _environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY)
    done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts["key"] == verdicts["AWS identity"] == "fail"
    assert verdicts["chain id"] == verdicts["contract"] == verdicts["clock"] == "ok"
    for name in ("gas", "stake", "offers"):
        assert (verdicts[name], found[name]["found"]) == ("skip", "the key cannot be opened")


def test_doctor__sources_of_images__each_is_asked_as_a_fetch_asks_it(world: World) -> None:
    """With a name for who asks, exactly, and in each one's own words."""

    class Withholds(Gateway):
        def turns_away(self, path: str) -> Refusal:
            return Refusal(403, b"not pinned here")

    class Packs(Gateway):
        def turns_away(self, path: str) -> Refusal:
            return Refusal(200, b"x", {"Content-Type": RAW_TYPE, "Content-Encoding": "gzip"})

    blocks = Blocks()
    blocks.add_directory({})
    with Gateway(blocks) as good, Withholds(blocks) as withholds, Packs(blocks) as packs:
        urls = (NOBODY, withholds.url, packs.url, good.url.replace("127.0.0.1", "localhost"))
        settings = {"GATEWAYS": ",".join(urls), "KUBO_API": NOBODY}
        environ = _environ(world, **{f"OYSTER_IMAGES__{key}": v for key, v in settings.items()})
        done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert (found["images"]["verdict"], found["images"]["found"]) == ("ok", "1 of 5 sources serve")
    assert "403 (it refuses): not pinned here" in found[withholds.url]["found"]
    assert "compresses what must be exact" in found[packs.url]["found"]
    assert "does not take connections" in found[NOBODY]["found"]
    assert found["kubo:/ip4/127.0.0.1/tcp/9/http"]["verdict"] == "warn"
    assert all(each["todo"] for each in found.values() if each["verdict"] == "warn")


def test_doctor__aws_is_away__is_one_cause_and_the_rest_is_skipped(world: World) -> None:
    environ = _environ(
        world, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_MAX_ATTEMPTS="1",
        OYSTER_AWS__ENDPOINT_URL=NOBODY, OYSTER_IMAGES__GATEWAYS=NOBODY,
    )  # fmt: skip
    done = oyster_here("doctor", "--json", environ=environ)
    of_aws = [
        each for each in json.loads(done.stdout)
        if each["check"].startswith(("AWS", "permissions", "quotas", "capacity", "us-east-1"))
    ]  # fmt: skip
    assert [each["check"] for each in of_aws if each["verdict"] == "fail"] == ["AWS identity"]
    assert "check this machine's network" in of_aws[0]["todo"]
    assert {each["verdict"] for each in of_aws[1:]} == {"skip"}


def test_doctor__no_agent_answers__is_told(world: World) -> None:
    environ = _environ(world, OYSTER_STATUS__LISTEN="127.0.0.1:9", OYSTER_IMAGES__GATEWAYS=NOBODY)
    found = _found(oyster_here("doctor", "--json", environ=environ).stdout)
    assert found["agent"]["verdict"] == "warn"
    assert "no agent answers on 127.0.0.1:9" in found["agent"]["found"]


def test_doctor__a_state_folder_that_can_t_be_made__fails(world: World) -> None:
    environ = _environ(world, OYSTER_STATE_DIR="/proc/nope", OYSTER_IMAGES__GATEWAYS=NOBODY)
    found = _found(oyster_here("doctor", "--json", environ=environ).stdout)
    assert found["disk"]["verdict"] == "fail"
    assert "nothing can be made below /proc" in found["disk"]["found"]


def _found(stdout: str) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(stdout)}


def test_doctor__an_effect_that_ended_by_a_bug__is_told(world: World) -> None:
    config = load(world.config)
    journal = Journal(open_file(config.journal_file))
    now = time.time()
    journal.event(Event(now - 90_000, "effect.bug", JobId(6), level=40, text="long ago"))
    text = "fetch-image ended by a bug: TypeError('x')"
    journal.event(Event(now - 60, "effect.bug", JobId(7), level=40, text=text))
    journal.close()
    done = oyster_here("doctor", "--json", environ=_environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY))
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["bugs"]["verdict"] == "warn"
    assert found["bugs"]["found"] == f"1 jobs in a day, the last job 7: {text}"


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
    job = _served(world, deposit=10**6, seconds=7200)
    started = world.read("job", job)[10]

    told = world.ask("report")
    (line,) = told["jobs"]
    stopped = world.read("job", job)[12]
    assert (line["job"], line["state"], told["token"]) == (job, "ended", "tUSD")
    assert float(line["earned_tokens"]) == pytest.approx((stopped - started) * 100 / 1e6, abs=1e-6)
    assert float(line["instance_hours"]) == pytest.approx(2.02, abs=0.02)
    assert float(line["margin_tokens"]) == pytest.approx(0.72 - 0.2017, abs=0.01)
    assert (line["cost_tokens_per_hour"], line["cost_source"]) == ("0.100000", "configuration")
    for key in ("earned_tokens", "cost_tokens", "margin_tokens", "gas_coin", "slashed_pond"):
        days = sum(float(day[key]) for day in told["days"])
        assert days == pytest.approx(float(told["total"][key]), abs=1e-5), key
    jobs = list(csv.DictReader(io.StringIO(world.run("report", "--csv").stdout)))
    assert jobs[0] == {key: str(value) for key, value in line.items()}
    rows = list(csv.DictReader(io.StringIO(world.run("report", "--by-day", "--csv").stdout)))
    assert rows == told["days"]
    later = world.ask("report", "--since", "2100-01-01")
    assert (later["jobs"], later["days"]) == ([], [])
    shown = world.run("report").stdout
    assert f"cost of {TYPE}: 0.1 tUSD/h (configuration)" in shown
    assert re.search(r"^together +0\.7", shown, re.MULTILINE)


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--csv", "--json")])
def test_report__bad_input__is_refused(world: World, words: tuple[str, ...]) -> None:
    done = world.run("report", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_report__no_cost_is_configured__goes_by_the_list_price(world: World) -> None:
    _keep_list_price(world, "0.153")
    _served(world, deposit=10**6, seconds=3600)
    told = world.ask("report")
    (line,) = told["jobs"]
    assert (line["cost_tokens_per_hour"], line["cost_source"]) == ("0.158000", "AWS list price")
    cost = float(line["cost_tokens"])
    assert cost == pytest.approx(0.158 * float(line["instance_hours"]), abs=1e-6)
    assert cost > 0


def test_report__no_cost_and_aws_does_not_answer__says_so_and_counts_the_rest(world: World) -> None:
    _served(world, deposit=10**6, seconds=3600)
    told = json.loads(oyster_here("report", "--json", environ=_environ(world)).stdout)
    (line,) = told["jobs"]
    assert (line["cost_tokens"], line["margin_tokens"]) == (None, None)
    assert "list price" in line["cost_source"]
    assert float(line["earned_tokens"]) > 0.35
    assert told["total"]["margin_tokens"] is None


def test_report__a_slashed_job__shows_what_it_had_paid_and_what_was_lost(world: World) -> None:
    job = _served(world, deposit=10**6, seconds=3600, stop=False)
    world.send(2, world.calls.report_fault(job, 1))
    journal = Journal(open_file(load(world.config, {}).journal_file))
    fields = {"amount": str(100 * POND)}
    journal.event(Event(time.time() + 3600, "job.slashed", job, None, fields=fields))
    journal.close()
    told = world.ask("report")
    (line,) = told["jobs"]
    assert (line["state"], line["slashed_pond"]) == ("slashed", "100.000000")
    assert float(line["earned_tokens"]) == pytest.approx(0.36, abs=0.01)
    assert told["total"]["slashed_pond"] == "100.000000"
    assert re.search(r"^together .* 100\.00$", world.run("report").stdout, re.MULTILINE)


def _keep_list_price(world: World, usd: str) -> None:
    kept = load(world.config, {}).state / "cloud" / "prices" / f"{TYPE.replace('/', '.')}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"at": time.time(), "usd": usd}))


def _served(world: World, *, deposit: int, seconds: int, stop: bool = True) -> JobId:
    """A job that ran that long, and that the journal knows."""
    world.send(0, world.calls.approve(world.pond, Wei(100 * POND)))
    world.send(0, world.calls.stake(Wei(100 * POND)))
    world.send(0, world.calls.register(TYPE, Price.parse("0.36/h", 6)))
    job = world.request(deposit=deposit)
    world.send(0, world.calls.report_started(job, "198.51.100.7:1300"))
    started = world.read("job", job)[10]
    world.node.call("evm_increaseTime", seconds)
    if stop:
        world.send(1, world.calls.request_stop(job))
    journal = Journal(open_file(load(world.config, {}).journal_file))
    journal.event(Event(time.time(), "job.assigned", job, 1))
    record = LaunchRecord(
        started - 60, job, 1, 1, "us-east-1", "c6a.xlarge", LaunchPhase.LAUNCHED, "i-1"
    )
    journal.launch(record)
    journal.close()
    return job


def _environ(world: World, **more: str) -> dict[str, Any]:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    return {
        "OYSTER_CONFIG": str(world.config), "OYSTER_AWS__ENDPOINT_URL": NOBODY, **keys, **more,
    }  # fmt: skip
