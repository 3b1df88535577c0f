"""Run the registered benches, print a table, write bench/results/NAME.json; exit 1 on a miss.

A bench is a module here with `def run() -> list[Figure]`. Nothing is run by `--markdown`, which
prints what bench/results holds, as docs/performance.md shows it; by `--guard`, which compares its
ratios with the accepted ones and exits 1 when one got worse; and by `--accept`, which accepts them.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import guard
from bench.figure import Figure, NotRun

BENCHES = (
    "backlog", "burst", "cloud", "decide", "fetch", "forwarder", "host", "latency", "markets",
    "measure", "packets", "page", "running", "scan", "several", "start",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    if names == ["--markdown"]:
        sys.stdout.write(markdown(RESULTS))
        return 0
    if names == ["--accept"]:
        guard.accept(RESULTS)
        return 0
    if names == ["--guard"]:
        return _guard(RESULTS, guard.BASELINE)
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.stderr.write(f"error: no bench named {sorted(unknown)}; there are {list(BENCHES)}\n")
        return 2
    for name in names or BENCHES:
        figures = _run(name)
        Console(width=120).print(_table(name, figures))
        RESULTS.mkdir(exist_ok=True)
        records = [figure.record() for figure in figures]
        (RESULTS / f"{name}.json").write_text(json.dumps(records, indent=2) + "\n")
    missed = _missed(names or BENCHES, RESULTS)
    for each in missed:
        sys.stderr.write(f"missed its target: {each}\n")
    return 1 if missed else 0


def _run(name: str) -> list[Figure]:
    """The bench's figures; none, and a line that says why, where it can't run."""
    try:
        figures: list[Figure] = importlib.import_module(f"bench.{name}").run()
    except NotRun as missing:
        sys.stderr.write(f"not run: {name}: {missing}\n")
        return []
    return figures


def _guard(results: Path, baseline: Path) -> int:
    """Every accepted ratio beside the one in `results`; 1 when one got worse."""
    compared = list(guard.compare(json.loads(baseline.read_text()), guard.read(results)))
    for one in compared:
        sys.stdout.write(f"{'WORSE' if one.worse else 'ok':6}{one}\n")
    return 1 if any(one.worse for one in compared) else 0


def markdown(results: Path) -> str:
    """The kept figures as one table; a bench without results has a line that says so."""
    lines = ["| bench | figure | value | target | |", "|---|---|---:|---:|---|"]
    for name in BENCHES:
        path = results / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else []
        lines += [_row(name, one) for one in kept] or [f"| {name} | not run | | | |"]
    return "\n".join(lines) + "\n"


def _row(name: str, one: dict[str, Any]) -> str:
    sign = "≤" if one["at_most"] else "≥"
    target = "" if one["target"] is None else f"{sign} {one['target']:g}"
    verdict = {None: "", True: "ok", False: "**missed**"}[one["reached"]]
    return f"| {name} | {one['name']} | {one['value']:.4g} {one['unit']} | {target} | {verdict} |"


def _missed(names: Sequence[str], results: Path) -> list[str]:
    """`bench: figure` of every figure that does not reach its target."""
    return [
        f"{name}: {one['name']}"
        for name in names
        for one in json.loads((results / f"{name}.json").read_text())
        if one["reached"] is False
    ]


def _table(name: str, figures: list[Figure]) -> Table:
    table = Table("figure", "value", "unit", "target", "ratio", "", "note", title=name)
    for figure in figures:
        limit = "" if figure.target is None else f"{'<=' if figure.at_most else '>='} "
        table.add_row(
            figure.name,
            f"{figure.value:.4g}",
            figure.unit,
            "" if figure.target is None else f"{limit}{figure.target:g}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            {None: "", True: "ok", False: "MISSED"}[figure.reached],
            figure.note,
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
