"""`report` through the real program: each job, day and month, each hour at what it cost then."""

from __future__ import annotations

import csv
import io
import json
import re
import time

import pytest

from agent.config import load
from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import COSTED, Event, LaunchRecord
from agent.journal.writing import Journal
from agent.load.costs import LIST_PRICE
from agent.market.model import JobId, Price, Wei

from .conftest import POND, TYPE, World
from .program import oyster_here

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"


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
    assert f"cost of {TYPE} now: 0.1 tUSD/h (configuration)" in shown
    assert re.search(r"^together +0\.7", shown, re.MULTILINE)


def test_report__the_list_price_changed__each_hour_costs_what_it_did_then(world: World) -> None:
    _keep_list_price(world, "9")  # of now: no hour that ran was at it
    job = _served(world, deposit=10**6, seconds=7200)
    started = world.read("job", job)[10]
    journal = Journal(open_file(load(world.config, {}).journal_file))
    for at, rate in (
        (started - 86_400, "0.1/h"),
        (started + 3600, "0.2/h"),
        (started + 9e6, "5/h"),
    ):
        fields = {"type": TYPE, "price": str(Price.parse(rate, 6).raw), "source": LIST_PRICE}
        journal.event(Event(at, COSTED, fields=fields))
    journal.close()
    (line,) = world.ask("report")["jobs"]
    assert float(line["cost_tokens"]) == pytest.approx(0.1 * (3660 / 3600) + 0.2, abs=0.01)
    assert line["cost_source"] == LIST_PRICE
    assert 0.1 < float(line["cost_tokens_per_hour"]) < 0.2


def test_report__by_month__is_the_days_together(world: World) -> None:
    text = world.config.read_text()
    world.config.write_text(text.replace('price = "0.17/h"', 'price = "0.17/h"\ncost = "0.1/h"'))
    _served(world, deposit=10**9, seconds=70 * 86_400)
    told = world.ask("report")
    assert 3 <= len(told["months"]) <= 4
    for key in ("earned_tokens", "cost_tokens", "margin_tokens"):
        for month in told["months"]:
            days = [day for day in told["days"] if day["day"].startswith(month["month"])]
            together = sum(float(day[key]) for day in days)
            assert float(month[key]) == pytest.approx(together, abs=1e-4)
    rows = list(csv.DictReader(io.StringIO(world.run("report", "--by", "month", "--csv").stdout)))
    assert rows == told["months"]
    assert "month (UTC)" in world.run("report", "--by", "month").stdout


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--csv", "--json"), ("--by", "week")])
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
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    environ = {"OYSTER_CONFIG": str(world.config), "OYSTER_AWS__ENDPOINT_URL": NOBODY, **keys}
    told = json.loads(oyster_here("report", "--json", environ=environ).stdout)
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
