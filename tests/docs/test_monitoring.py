"""Dashboard and alerts name only metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from agent.status import runbook
from agent.status.metrics import Metrics
from agent.status.source import CallRow, Census, ChainRow, EndpointRow, TypeRow, View
from tests.clocks import StandingClock

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "monitoring"

pytestmark = pytest.mark.unit


class _Source:
    def progress_at(self) -> float:
        return 0.0

    def card_files(self) -> tuple[tuple[()], tuple[()]]:
        return (), ()

    def census(self) -> Census:
        return Census()

    def summary(self) -> View:
        return View(
            "0x", "0x", 1, "1", 0.0, 0.0, types=(TypeRow("a/b", 1, True, 1, "x", margin=0.1),),
            chain=ChainRow(endpoints=(EndpointRow("n", True),)),
            aws_calls=(CallRow("r", "c", 1, 1),),
        )  # fmt: skip


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Every sample's name and the names of its labels."""
    metrics = Metrics()
    metrics.watch(_Source(), StandingClock(1.0))
    return {
        sample.name: set(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def _expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in _rules()]


def _rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_monitoring__every_metric_named__is_served(served: dict[str, set[str]]) -> None:
    named = {name for text in _expressions() for name in re.findall(r"oyster_\w+", text)}
    assert named - served.keys() == set()
    assert len(named) >= 20


def test_monitoring__labels_named__are_of_the_metric(served: dict[str, set[str]]) -> None:
    for text in _expressions():
        for name, inside in re.findall(r"(oyster_\w+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)=", inside)) <= served[name], text


def test_metrics__read_by_promtool__are_named_as_they_should() -> None:
    """A counter ends in _total, and nothing else does; without promtool that much is checked."""
    metrics = Metrics()
    metrics.watch(_Source(), StandingClock(1.0))
    for family in metrics.registry.collect():
        assert family.type == "counter" or not family.name.endswith("_total"), family.name
    if shutil.which("promtool") is None:
        return
    page = generate_latest(metrics.registry)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_alerts__each_one__has_its_section_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in guide.splitlines()
        if line.startswith("#")
    }
    for rule in _rules():
        anchor = rule["annotations"]["runbook"].partition("#")[2]
        assert anchor in anchors, rule["alert"]
        assert anchor in runbook.page(), "the link opens on the agent"
        assert rule["annotations"]["do"] == f"oyster-provider runbook {anchor}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"Oyster[A-Z]\w+", rule["alert"])


def test_dashboard__panels__do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
