"""What the journal is told is counted."""

from __future__ import annotations

import pytest

from agent.journal import Event
from agent.status.metrics import Metrics
from agent.status.tally import Tally

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("event", "sample", "labels", "value"),
    [
        (Event(0, "job.refused", text="price: too low"), "jobs_refused", {"rule": "price"}, 1),
        (Event(0, "job.refused", text="new rule: x"), "jobs_refused", {"rule": "other"}, 1),
        (Event(0, "job.missed"), "jobs_missed", {}, 1),
        (Event(0, "job.slashed"), "jobs_slashed", {}, 1),
        (Event(0, "job.ended", text="stopped"), "jobs_ended", {"outcome": "stopped"}, 1),
        (Event(0, "job.replaced"), "repairs", {"kind": "host_replace"}, 1),
        (Event(0, "enclave.restarted"), "repairs", {"kind": "enclave_restart"}, 1),
        (Event(0, "launch.nowhere"), "launches", {"phase": "nowhere"}, 1),
        (Event(0, "image.ready"), "images", {"result": "ready"}, 1),
        (Event(0, "tx.later", text="settle: x"), "transactions",
         {"kind": "other", "result": "later"}, 1),
        (Event(0, "tx.report_started", fields={"fee_wei": "7"}), "gas_wei", {}, 7),
        (Event(0, "tx.settled", fields={"fee_wei": "odd"}), "gas_wei", {}, 0),
        (Event(0, "something.new"), "jobs_missed", {}, 0),
    ],
)  # fmt: skip
def test_tally__a_line_of_the_journal__counts_once(
    event: Event, sample: str, labels: dict[str, str], value: float
) -> None:
    metrics = Metrics()
    Tally(metrics).event(event)
    assert metrics.registry.get_sample_value(f"oyster_{sample}_total", labels) == value
