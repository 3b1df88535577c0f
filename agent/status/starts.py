"""How long jobs take to come up, against the window: the error budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from agent.status.cockpit import StartRow, Starts

WORST = 10


def starts_of(
    rows: Iterable[StartRow], missed: int, window_seconds: int, goal_seconds: int = 0
) -> Starts:
    """Percentiles are ones that happened: the least time within which so many were up."""
    found = sorted(rows, key=lambda row: (-row.seconds, row.job))
    times = sorted(row.seconds for row in found)
    return Starts(
        count=len(found), missed=missed,
        p50=percentile(times, 50), p99=percentile(times, 99),
        window_seconds=window_seconds, goal_seconds=goal_seconds, worst=tuple(found[:WORST]),
    )  # fmt: skip


def percentile(times: Sequence[float], share: int) -> float | None:
    """The nearest-rank percentile of sorted times; None of none."""
    if not times:
        return None
    return times[max(0, math.ceil(len(times) * share / 100) - 1)]
