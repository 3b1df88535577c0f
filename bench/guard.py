"""Whether anything got slower than it was when it was accepted last, whatever the machine.

Only what two machines share is compared: a figure's ratio to the peer of its own run, and counts
(calls, shares) against their targets. Seconds never are. `baseline.json` has the accepted ratios;
`python -m bench --accept` writes them from bench/results, `--guard` compares and fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).parent / "baseline.json"
TOLERANCE = 0.25  # of the accepted ratio: medians of one machine differ by a tenth between runs
_COUNTS = ("calls", "x", "")  # units that do not depend on how fast a machine is

Record = Mapping[str, Any]  # what Figure.record() gives


@dataclass(frozen=True, slots=True)
class Compared:
    """One ratio then and now; `now` is None when the figure was not measured."""

    name: str
    accepted: float
    now: float | None
    at_most: bool

    @property
    def limit(self) -> float:
        """The worst that is still accepted."""
        return self.accepted * (1 + TOLERANCE if self.at_most else 1 - TOLERANCE)

    @property
    def worse(self) -> bool:
        if self.now is None:
            return False
        return self.now > self.limit if self.at_most else self.now < self.limit

    def __str__(self) -> str:
        now = "not measured" if self.now is None else f"{self.now:.3g}"
        sign = "<=" if self.at_most else ">="
        return f"{self.name}: {now} (accepted {self.accepted:.3g}, {sign} {self.limit:.3g})"


def ratio_of(record: Record) -> float | None:
    """What of a figure can be compared between machines; None: nothing."""
    if record["unit"].startswith("x recorded"):
        return None  # the peer ran on another machine
    if record["ratio"] is not None:
        return float(record["ratio"])
    if record["target"] and record["unit"] in _COUNTS:
        return float(record["value"]) / float(record["target"])
    return None


def ratios(kept: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
    """`bench: figure` to its ratio and which way it is good, of every bench's records."""
    return {
        f"{bench}: {record['name']}": {"ratio": round(ratio, 4), "at_most": record["at_most"]}
        for bench, records in kept.items()
        for record in records
        if (ratio := ratio_of(record)) is not None
    }


def compare(
    baseline: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Sequence[Record]]
) -> Iterator[Compared]:
    """Every accepted ratio beside today's."""
    now = ratios(kept)
    for name, accepted in baseline.items():
        today = now[name]["ratio"] if name in now else None
        yield Compared(name, accepted["ratio"], today, accepted["at_most"])


def read(results: Path) -> dict[str, list[Record]]:
    """The records of every bench that was run."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(results.glob("*.json"))}


def accept(results: Path, baseline: Path = BASELINE) -> None:
    """What was measured last is what is compared with from now on; the rest stays accepted."""
    known = json.loads(baseline.read_text()) if baseline.exists() else {}
    known |= ratios(read(results))
    baseline.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
