"""What one step of an agent's event loop costs: nothing else of it runs meanwhile.

In CPU of the loop's own thread, so that whatever else a machine does is not counted. Steps worth
a look are appended to a file, a line each, for who measures from outside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LEAST_SECONDS = 0.001
RUN = "_run"  # of a handle: what the loop calls for each step, its own or a task's


@dataclass(frozen=True, slots=True)
class Steps:
    """Milliseconds of CPU: the longest step of some time, and all of them that are noted."""

    longest: float
    together: float


def note(file: Path) -> None:
    """Have every loop of this process note its steps, for as long as the process lives."""
    run, told = getattr(asyncio.Handle, RUN), file.open("a", buffering=1)

    def measured(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        if (spent := time.thread_time() - begun) >= LEAST_SECONDS:
            told.write(f"{time.monotonic()} {spent}\n")

    setattr(asyncio.Handle, RUN, measured)


def between(file: Path, begun: float, ended: float) -> Steps:
    """Of the steps that ended in these seconds of the machine's monotonic clock."""
    spent = _between(file.read_text().splitlines(), begun, ended)
    return Steps(max(spent, default=0.0) * 1000, sum(spent) * 1000)


def _between(lines: Sequence[str], begun: float, ended: float) -> list[float]:
    told = [(float(at), float(spent)) for at, spent in (line.split() for line in lines)]
    return [spent for at, spent in told if begun <= at <= ended]
