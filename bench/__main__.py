"""Run the registered benches, print a table, write bench/results/NAME.json; exit 1 on a miss.

A bench is a module here with `def run() -> list[Figure]`.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figure import Figure

BENCHES = ("assignment", "cloud", "fetch", "host", "measure")
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.stderr.write(f"error: no bench named {sorted(unknown)}; there are {list(BENCHES)}\n")
        return 2
    missed = False
    for name in names or BENCHES:
        figures: list[Figure] = importlib.import_module(f"bench.{name}").run()
        Console(width=120).print(_table(name, figures))
        RESULTS.mkdir(exist_ok=True)
        records = [figure.record() for figure in figures]
        (RESULTS / f"{name}.json").write_text(json.dumps(records, indent=2) + "\n")
        missed |= any(figure.reached is False for figure in figures)
    return 1 if missed else 0


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
