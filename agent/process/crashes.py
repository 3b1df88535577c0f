"""A crash loop slows down, and never gives up: a job may be minutes from its slash point.

systemd restarts after the same two seconds each time (RestartSteps= is newer than Debian 12's), so
the process itself waits: it counts its starts in the runtime directory, which systemd keeps over
restarts and removes at a stop.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

WINDOW_SECONDS = 600.0
FREE_STARTS = 5  # within the window: upgrades, reboots and an operator's own restarts
MOST_SECONDS = 60.0  # a job has minutes; a loop that is broken for all of them costs little CPU
_FILE = "starts.json"


def pause_before(starts: Sequence[float], now: float) -> float:
    """Seconds to wait before a start, by the Unix seconds of those before it.

    None for the first few in ten minutes, then twice as long each time, a minute at most.
    """
    recent = sum(0 <= now - at < WINDOW_SECONDS for at in starts)
    return 0.0 if recent < FREE_STARTS else min(MOST_SECONDS, 2.0 ** (recent - FREE_STARTS + 1))


def note_start(now: float, environ: Mapping[str, str] = os.environ) -> float:
    """Count this start; the seconds to wait before it. 0 where no service manager starts us."""
    place = _place(environ)
    if place is None:
        return 0.0
    before = [at for at in _read(place) if 0 <= now - at < WINDOW_SECONDS]
    with suppress(OSError):  # a full /run must not keep the agent from serving
        place.write_text(json.dumps([*before, now]), encoding="utf-8")
    return pause_before(before, now)


def _place(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("RUNTIME_DIRECTORY")
    return Path(folder) / _FILE if folder else None


def _read(place: Path) -> list[float]:
    """Nothing where it is missing or broken: it is a hint, no record."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return (
        [float(at) for at in found if isinstance(at, int | float)]
        if isinstance(found, list)
        else []
    )
