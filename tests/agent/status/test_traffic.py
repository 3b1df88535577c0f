"""What went through instances and what did not, in words and as sums with a bounded label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.status.metrics import Metrics, _jobs
from agent.status.source import Census
from agent.status.traffic import REASONS, Traffic, drops_of, traffic_of
from commands.traffic import facts_of, to_json
from enclave.host.documents import COUNTS, Status

pytestmark = pytest.mark.unit


def _status(drops: dict[str, int]) -> Status:
    counts = {**dict.fromkeys(COUNTS, 0), "bytes_in": 5 << 20, "bytes_out": 1023}
    return Status("running", "r", 1.0, "p", "i-1", traffic={"packets": counts}, drops=drops)


def test_words__bytes_and_drops__most_frequent_first() -> None:
    words = traffic_of(_status({"mail": 4, "near": 1200})).words
    assert words == "5.0 MiB in, 1023 bytes out; 1,204 packets dropped: 1,200 near, 4 mail"
    assert traffic_of(_status({})).words == "5.0 MiB in, 1023 bytes out"
    assert Traffic(1 << 63, 0).words == "8388608.0 TiB in, 0 bytes out"


@given(many=st.lists(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,31}"), st.integers(0, 9))))
def test_drops__of_any_hosts__have_no_other_labels(many: list[dict[str, int]]) -> None:
    found = drops_of([_status(drops) for drops in many])
    assert set(found) <= set(REASONS)
    assert sum(found.values()) == sum(sum(drops.values()) for drops in many)


class Alone(Collector):
    """The jobs' part of a scrape."""

    def collect(self) -> Iterable[Metric]:
        return _jobs(Census(drops={"near": 7}))


def test_metrics__of_drops__has_every_reason_from_the_start() -> None:
    metrics = Metrics()
    metrics.registry.register(Alone())
    told = {
        reason: metrics.registry.get_sample_value("oyster_packets_dropped", {"reason": reason})
        for reason in REASONS
    }
    assert told == {**dict.fromkeys(REASONS, 0.0), "near": 7.0}


def test_jobs_show__by_the_agent_s_word__has_a_line_an_instance_or_none() -> None:
    told: dict[str, Any] = {
        "bytes_in": 1,
        "bytes_out": 2,
        "drops": {"near": 3},
        "words": "1 byte in",
    }
    hosts: list[dict[str, Any]] = [
        {"instance": "i-1", "traffic": told},
        {"instance": "i-2", "traffic": None},
    ]
    assert facts_of(hosts) == [("traffic", "i-1: 1 byte in")]
    shown = to_json(hosts)
    assert shown == [{"instance": "i-1", "bytes_in": 1, "bytes_out": 2, "drops": {"near": 3}}]
    assert (facts_of(None), to_json(None)) == ([], None)
