"""What the journal is told is counted."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import agent.bootstrap
import agent.policy
from agent.journal import Event
from agent.lifecycle import outcome_of
from agent.market.model import JobStatus, StopReason
from agent.snapshot import JobView
from agent.status.metrics import ENDS, REFUSALS, Metrics
from agent.status.tally import Tally
from tests.agent.samples import ACCOUNT, BLOCK, JOB, OTHER, PARAMS

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("event", "sample", "labels", "value"),
    [
        (Event(0, "job.refused", text="price: too low"), "jobs_refused", {"rule": "price"}, 1),
        (Event(0, "job.refused", text="new rule: x"), "jobs_refused", {"rule": "other"}, 1),
        (Event(0, "job.missed"), "jobs_missed", {}, 1),
        (Event(0, "job.slashed"), "jobs_slashed", {}, 1),
        (Event(0, "job.ended", text="user_request"), "jobs_ended",
         {"outcome": "user_request"}, 1),
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


def test_metrics__however_a_job_ends__the_end_has_a_label_of_its_own() -> None:
    stopped = [
        replace(JOB, status=JobStatus.STOPPED, stop_reason=reason)
        for reason in StopReason
        if reason is not StopReason.NONE
    ]
    for head in (None, replace(JOB, provider=OTHER), *stopped):
        view = JobView(id=JOB.id, account=ACCOUNT, params=PARAMS, head_block=BLOCK, head=head)
        assert outcome_of(view) in ENDS


@pytest.mark.parametrize("module", [agent.bootstrap, agent.policy])
def test_metrics__whatever_rule_refuses_a_job__has_a_label_of_its_own(module: object) -> None:
    tree = ast.parse(Path(str(vars(module)["__file__"])).read_text())
    rules = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Refusal"
        if isinstance(node.args[0], ast.Constant)
    }
    assert rules
    assert rules - {"job"} <= set(REFUSALS)  # a job that is not on the chain is never vetted
