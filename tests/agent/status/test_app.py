"""The routes, through the real applications."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.market.model import InstanceType, Price
from agent.markets.marketv1.cards import RateCard, TrafficRate
from agent.status.app import Status, host_name
from agent.status.health import Grade, Health, Part
from agent.status.metrics import REFUSALS, STAGES, Metrics
from agent.status.source import JobState

from .conftest import NOW, Past
from .sights import figures

pytestmark = pytest.mark.unit


class Caller:
    """Calls an application without a socket."""

    def __init__(self, app: Any, base: str = "http://127.0.0.1") -> None:
        self._app = app
        self._base = base

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(call())


OPERATOR = (
    "/healthz", "/readyz", "/metrics", "/jobs", "/", "/now", "/figures", "/past", "/past.json",
    "/job/97", "/page.css", "/overview.js", "/text.js",
)  # fmt: skip
MARKET = ("/ip?id=97&region=us-east-1", "/spec", "/bandwidth", "/healthz")


@pytest.fixture
def metrics(source: Any, clock: Any) -> Metrics:
    made = Metrics()
    made.watch(source, clock)
    return made


@pytest.fixture
def past() -> Past:
    return Past()


@pytest.fixture
def operator(source: Any, clock: Any, metrics: Metrics, past: Past) -> Caller:
    app = Status(source, past, metrics, clock, stall_seconds=60)
    return Caller(app.operator(("127.0.0.1",)))


@pytest.fixture
def public(source: Any, clock: Any, metrics: Metrics) -> Caller:
    app = Status(source, Past(), metrics, clock, stall_seconds=60).public()
    return Caller(app, "http://provider.example")


def test_healthz__the_loop_stands_still__is_503(operator: Caller, clock: Any) -> None:
    assert operator.get("/healthz").status_code == 200
    clock.at += 59
    assert operator.get("/healthz").status_code == 200
    clock.at += 1
    answer = operator.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "no progress for 61 s\n")
    assert operator.get("/jobs").json()["stalled"] is True


def test_readyz__something_is_missing__says_what(operator: Caller, source: Any) -> None:
    assert operator.get("/readyz").text == "ok\n"
    look = Part("file", "", Grade.WARN, "the file says otherwise", "reload")
    source.change(health=Health((look,)))
    answer = operator.get("/readyz")
    assert (answer.status_code, answer.text) == (
        200, "ok\nlook: the file says otherwise; reload\n",
    )  # fmt: skip
    away = Part("region", "us-east-1", Grade.FAIL, "AWS was not seen for 70 s")
    source.change(health=Health((look, away)))
    answer = operator.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "us-east-1: AWS was not seen for 70 s\n")
    health = operator.get("/jobs").json()["health"]
    assert (health["word"], [part["grade"] for part in health["parts"]]) == (
        "not ready", ["warn", "fail"],
    )  # fmt: skip


@pytest.mark.parametrize("path", [*OPERATOR, *MARKET])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_route__anything_but_get__is_405(operator: Caller, path: str, method: str) -> None:
    assert operator.request(method, path).status_code == 405


def test_public_address__operators_paths__are_not_there(public: Caller) -> None:
    for path in OPERATOR[1:]:
        assert public.get(path).status_code == 404, path
    for path in MARKET:
        assert public.get(path).status_code == 200, path


def test_operator_address__foreign_host_name__is_refused(operator: Caller) -> None:
    for host, status in (("evil.example", 421), ("localhost:80", 200), ("[::1]:9", 200), ("", 421)):
        assert operator.get("/jobs", headers={"host": host}).status_code == status, host
    refused = operator.get("/jobs", headers={"host": "evil.example"})
    assert "by the address in status.listen" in refused.text
    assert host_name("[FE80::1]:80") == "fe80::1"


@pytest.mark.parametrize("host", ["evil.example", "", "10.42.0.7:8470"])
def test_operator_address__probed_by_any_name__tells_the_code_and_not_why(
    operator: Caller, source: Any, host: str
) -> None:
    away = Part("node", "http://10.0.0.3:8545", Grade.FAIL, "refuses")
    named = {"host": host}
    for path in ("/healthz", "/readyz"):
        answer = operator.get(path, headers=named)
        assert (answer.status_code, answer.text) == (200, "ok\n"), path
    source.change(health=Health((away,)))
    answer = operator.get("/readyz", headers=named)
    assert answer.status_code == 503
    assert "10.0.0.3" not in answer.text
    assert "by the address in status.listen" in answer.text
    assert operator.request("POST", "/readyz", headers=named).status_code == 405
    assert "10.0.0.3" in operator.get("/readyz").text


def test_every_answer__carries_the_headers(operator: Caller) -> None:
    for path in (*OPERATOR, "/nowhere"):
        headers = operator.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "query",
    ["id=97&region=us-east-1", f"id=0x{97:064x}&region=us-east-1"],
)
def test_ip__a_job_that_runs__is_answered(public: Caller, query: str) -> None:
    assert public.get(f"/ip?{query}").json() == {"ip": "198.51.100.7"}


@pytest.mark.parametrize(
    "query",
    ["", "id=97", "region=us-east-1", "id=97&region=eu-west-1", "id=1&region=us-east-1",
     "id=0x&region=us-east-1", "id=-97&region=us-east-1", "id=79&region=us-east-1",
     f"id={'9' * 5000}&region=us-east-1", "id=%D9%A3&region=us-east-1",
     "id=97%00&region=us-east-1"],
)  # fmt: skip
def test_ip__anything_else__is_400_in_the_markets_words(public: Caller, query: str) -> None:
    answer = public.get(f"/ip?{query}")
    assert (answer.status_code, answer.text) == (400, "BAD_REQUEST")


def test_ip__asked_by_anybody__looks_at_that_job_alone(
    public: Caller, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(source), "jobs")
    monkeypatch.delattr(type(source), "find")
    assert public.get("/ip?id=97&region=us-east-1").json() == {"ip": "198.51.100.7"}
    assert public.get("/ip?id=98&region=us-east-1").status_code == 400


def test_ip__of_a_job_that_is_refused__says_why_behind_the_markets_word(
    public: Caller, source: Any
) -> None:
    (job, *_) = source.shown.jobs
    refused = dataclasses.replace(job, id=98, stage="refused", public_ip="", note="debug: none")
    unread = dataclasses.replace(refused, id=0, instance_type="", note="metadata: no JSON")
    source.change(jobs=(*source.shown.jobs, refused, unread))
    answer = public.get("/ip?id=98&region=us-east-1")
    assert answer.status_code == 400
    assert answer.text.split("\n") == ["BAD_REQUEST", "job 98 is refused: debug: none"]
    with pytest.raises(ValueError, match="Expecting value"):  # as the monitor reads it
        json.loads(answer.text)
    unreadable = public.get(f"/ip?id=0x{0:064x}&region=us-east-1").text
    assert unreadable.endswith("job 0 is refused: metadata: no JSON")


def test_spec_and_bandwidth__of_files__are_beside_the_types_on_offer(
    public: Caller, source: Any
) -> None:
    source.cards = [RateCard(InstanceType("us-east-1", "c7g.large"), Price(7), 1, 2048, "arm64")]
    source.traffic = [TrafficRate("N. Virginia", "us-east-1", 9)]
    found = {
        card["instance"]: card
        for region in public.get("/spec").json()["min_rates"]
        for card in region["rate_cards"]
    }
    assert found["c7g.large"] == {
        "instance": "c7g.large", "min_rate": "0x7", "cpu": 1, "memory": 2048, "arch": "arm64",
    }  # fmt: skip
    assert len(found) > 1
    rates = {one["region_code"]: one for one in public.get("/bandwidth").json()["rates"]}
    assert rates["us-east-1"] == {
        "region": "N. Virginia", "region_code": "us-east-1", "rate": "0x9",
    }  # fmt: skip


def test_spec__types_on_offer__are_in_the_markets_shape(public: Caller) -> None:
    answer = public.get("/spec").json()
    assert answer["allowed_regions"] == ["eu-west-1", "us-east-1"]
    cards = {entry["region"]: entry["rate_cards"] for entry in answer["min_rates"]}
    assert cards["us-east-1"][0] == {
        "instance": "c6a.xlarge", "min_rate": hex(47_222_222_222_222), "cpu": 4, "memory": 8192,
        "arch": "amd64",
    }  # fmt: skip
    assert [card["arch"] for card in cards["eu-west-1"]] == ["arm64"]
    told = public.get("/bandwidth").json()
    assert [rate["region_code"] for rate in told["rates"]] == ["eu-west-1", "us-east-1"]
    assert told["instances"] == [
        {"region": "us-east-1", "instance": "c6a.xlarge", "baseline_mbps": 1562}
    ], "of the others nothing is known, and nothing said"


def test_jobs__amounts_beyond_javascript__are_texts(operator: Caller, source: Any) -> None:
    source.change(jobs=(dataclasses.replace(source.shown.jobs[0], escrow=2**128),))
    data = json.loads(operator.get("/jobs").text)
    assert data["jobs"][0]["escrow"] == str(2**128)
    assert data["money"]["stake_total"] == str(5000 * 10**18)
    assert data["money"]["decimals"] == 6
    assert {job["state"] for job in data["jobs"]} == {"running"}


def test_metrics__nothing_happened_yet__has_every_label_set(operator: Caller) -> None:
    families = _families(operator)
    stages = {sample.labels["stage"] for sample in families["oyster_stage_seconds"].samples}
    assert stages == set(STAGES)
    rules = {sample.labels["rule"] for sample in families["oyster_jobs_refused"].samples}
    assert rules == set(REFUSALS)
    states = {sample.labels["state"]: sample.value for sample in families["oyster_jobs"].samples}
    assert states == {
        state: float(state not in (JobState.REFUSED, JobState.ENDED)) for state in JobState
    }
    assert len(families["oyster_transactions"].samples) == 5 * 3


def test_metrics__gauges__follow_the_view(operator: Caller, source: Any, clock: Any) -> None:
    assert _value(operator, "oyster_nearest_deadline_seconds") == 71
    clock.at += 10
    assert _value(operator, "oyster_nearest_deadline_seconds") == 61
    assert _value(operator, "oyster_progress_age_seconds") == 11
    source.change(jobs=())
    assert _value(operator, "oyster_nearest_deadline_seconds") == float("inf")
    assert _value(operator, "oyster_earning_tokens_per_hour") == pytest.approx(0.51)


def test_metrics__what_happened__is_counted(operator: Caller, metrics: Metrics) -> None:
    metrics.stage("boot", 17.0)
    metrics.stage("unheard-of", 1.0)
    metrics.job_refused("unheard-of")
    metrics.transaction("report_started", "mined", gas_wei=21_000)
    metrics.launch("nowhere")
    metrics.finished_pass(0.2)
    families = _families(operator)
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["oyster_stage_seconds_count", "boot"] == 1
    assert values["oyster_jobs_refused_total", "other"] == 1
    assert values["oyster_transactions_total", "mined", "report_started"] == 1
    assert values["oyster_gas_wei_total",] == 21_000
    assert values["oyster_launches_total", "nowhere"] == 1
    assert values["oyster_aws_throttled_total", "RunInstances", "us-east-1"] == 3
    assert values["oyster_passes_total",] == 1


def test_metrics__two_agents_in_one_process__do_not_meet() -> None:
    one, two = Metrics(), Metrics()
    one.job_missed()
    assert two.registry.get_sample_value("oyster_jobs_missed_total") == 0


def _families(client: Caller) -> dict[str, Any]:
    text = client.get("/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(client: Caller, name: str) -> float:
    (sample,) = _families(client)[name].samples
    assert isinstance(sample.value, float)
    return sample.value


def test_now__a_page_of_jobs__has_counts_of_all_and_amounts_as_texts(
    operator: Caller, source: Any
) -> None:
    found = operator.get("/now?count=2&q=us-east-1&sort=id&down=1").json()
    assert [job["id"] for job in found["jobs"]] == [118, 97]
    assert found["page"] == {"start": 0, "count": 2, "found": 3, "total": 4}
    assert found["counts"]["running"] == 1
    assert found["nearest"] == NOW + 71
    assert found["jobs"][0]["escrow"] == "12000000"
    assert found["links"] == {"provider": "", "registry": ""}
    source.change(explorer="https://arbiscan.io")
    links = operator.get("/now").json()["links"]
    assert links["provider"] == f"https://arbiscan.io/address/{source.shown.provider}"


def test_job__unknown_or_beyond_every_number__is_404(operator: Caller, past: Past) -> None:
    past.jobs = {7: {"id": 7}}
    assert operator.get("/job/7.json").json()["token"]["symbol"] == "USDC"
    for number in ("8", "9" * 40):
        assert operator.get(f"/job/{number}.json").status_code == 404
    assert operator.get("/job/x.json").status_code == 404


def test_history__the_journal_is_held__is_503_and_says_so(operator: Caller, past: Past) -> None:
    past.away = "the journal is held"
    for path in ("/job/7.json", "/past.json"):
        answer = operator.get(path)
        assert (answer.status_code, answer.json()) == (503, {"error": "the journal is held"})


def test_figures__before_the_first_minute__say_so(operator: Caller, past: Past) -> None:
    assert operator.get("/figures").json()["at"] == 0
    past.known = figures(NOW)
    found = operator.get("/figures").json()
    assert found["days"][-1]["margin"] == "71000000"
    assert found["days"][11]["cost"] is None
    assert found["starts"]["worst"][0] == {"job": 31, "seconds": 112, "assigned_at": NOW - 345600}
