"""The guard: ratios and counts are compared, seconds are not; worse is worse either way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.figure import Figure
from bench.guard import BASELINE, TOLERANCE, accept, compare, ratios, read

pytestmark = pytest.mark.unit

FASTER = Figure("against curl", 0.8, "x", 0.5, ratio=0.8)
SMALLER = Figure("of the peer", 0.2, "s", 0.35, ratio=0.2, at_most=True)
COUNT = Figure("list calls", 7, "calls", 7, at_most=True)
TIME = Figure("p50", 0.2, "s", 0.3, at_most=True)
ELSEWHERE = Figure("against a record", 4.0, "x recorded 29 MB/s", 3.0, ratio=4.0)


def kept(*figures: Figure) -> dict[str, list[dict[str, object]]]:
    return {"bench": [figure.record() for figure in figures]}


def test_ratios__seconds__are_left_out() -> None:
    found = ratios(kept(FASTER, SMALLER, COUNT, TIME, ELSEWHERE))
    assert {name: one["ratio"] for name, one in found.items()} == {
        "bench: against curl": 0.8,
        "bench: of the peer": 0.2,
        "bench: list calls": 1.0,
    }


@pytest.mark.parametrize(
    ("name", "value", "at_most", "worse"),
    [
        ("against curl", 0.8 * (1 - TOLERANCE) - 0.01, False, True),
        ("against curl", 0.8 * (1 - TOLERANCE) + 0.01, False, False),
        ("against curl", 8.0, False, False),
        ("of the peer", 0.2 * (1 + TOLERANCE) + 0.01, True, True),
        ("of the peer", 0.2 * (1 + TOLERANCE) - 0.01, True, False),
        ("of the peer", 0.01, True, False),
    ],
)
def test_compare__by_direction__is_worse_beyond_the_tolerance(
    name: str, value: float, at_most: bool, worse: bool
) -> None:
    baseline = ratios(kept(FASTER, SMALLER))
    today = kept(Figure(name, value, "s", ratio=value, at_most=at_most))
    found = {one.name: one for one in compare(baseline, today)}
    assert found[f"bench: {name}"].worse is worse


def test_compare__not_measured__is_said_and_not_worse() -> None:
    (one,) = compare(ratios(kept(COUNT)), {})
    assert not one.worse
    assert "not measured" in str(one)


def test_guard__worse_than_accepted__exits_with_1_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, baseline = tmp_path / "results", tmp_path / "baseline.json"
    results.mkdir()
    (results / "bench.json").write_text(json.dumps(kept(FASTER)["bench"]))
    accept(results, baseline)
    monkeypatch.setattr(bench, "RESULTS", results)
    monkeypatch.setattr("bench.guard.BASELINE", baseline)
    assert bench.main(["--guard"]) == 0
    slower = Figure("against curl", 0.3, "x", 0.1, ratio=0.3)
    (results / "bench.json").write_text(json.dumps(kept(slower)["bench"]))
    assert bench.main(["--guard"]) == 1
    assert "WORSE bench: against curl" in capsys.readouterr().out


def test_accept__part_was_measured__keeps_the_rest(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    for figures in (kept(FASTER, SMALLER), kept(FASTER)):
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / "bench.json").write_text(json.dumps(figures["bench"]))
        accept(tmp_path / "results", baseline)
    assert set(json.loads(baseline.read_text())) == {"bench: against curl", "bench: of the peer"}
    assert list(read(tmp_path / "results")) == ["bench"]


def test_baseline__as_committed__is_of_benches_that_there_are() -> None:
    named = {name.partition(":")[0] for name in json.loads(BASELINE.read_text())}
    assert named
    assert named <= set(bench.BENCHES)


def test_bench__can_not_run__is_said_and_leaves_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.backlog.find_anvil", lambda: None)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    assert bench.main(["backlog"]) == 0
    assert "not run: backlog: anvil is not installed" in capsys.readouterr().err
    assert "| backlog | not run |" in bench.markdown(tmp_path)
