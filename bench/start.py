"""What a start costs before the agent does anything: CPU, which other processes do not disturb.

The peer is the same interpreter that imports what a small network program of the standard library
would. A restart is downtime that auditors
see; the CLI's help is what people wait for.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

from bench.figure import Figure

ROUNDS = 7
HELP_SECONDS = 0.35
_PEER = ("-c", "import asyncio, http.server, json, sqlite3, ssl, urllib.request")
_HELP = ("-m", "cli", "--help")
_RUN = ("-c", "import cli, agent.config, agent.daemon")


def run() -> list[Figure]:
    peer, help_, daemon = (cpu(words) for words in (_PEER, _HELP, _RUN))
    note = f"CPU, median of {ROUNDS}; ratio: to the standard library's {peer:.3f} s"
    return [
        Figure("oyster-provider --help", help_, "s", HELP_SECONDS, help_ / peer, True, note),
        Figure("imports of oyster-provider run", daemon, "s", None, daemon / peer, True, note),
    ]


def cpu(words: Sequence[str]) -> float:
    """Median CPU seconds of a Python started with `words`, after one start that fills caches."""
    _once(words)
    return statistics.median(_once(words) for _ in range(ROUNDS))


def _once(words: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)  # fixed words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
