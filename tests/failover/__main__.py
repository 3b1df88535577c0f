"""The table of faults, many times: `python -m tests.failover TIMES` (`make failover TIMES=20`).

Prints how long the other host took, and how often anything was done twice. The first is a machine's
figure; the second has to be 1, 1 and never back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.failover.pair import Pair, on_stage
from tests.failover.plays import Report, play, rolling_upgrade, two_terminals_at_once
from tests.failover.strikes import TABLE

SHIPPED_LEASE_SECONDS = 4.0
ON_ONE_STAGE = 5  # rounds: a chain and buckets that grow are slower by and by
UPGRADE = "rolling upgrade"
LAST_LINES = 400  # of an agent's log: some minutes


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    words.add_argument("times", type=int)
    words.add_argument("--lease", type=float, default=SHIPPED_LEASE_SECONDS, help="seconds")
    words.add_argument("--only", choices=[*TABLE, UPGRADE], nargs="+", help="these rows")
    asked, report = words.parse_args(), Report()
    for first in range(0, asked.times, ON_ONE_STAGE):
        rounds = range(first, min(first + ON_ONE_STAGE, asked.times))
        with tempfile.TemporaryDirectory() as folder, on_stage(Path(folder), asked.lease) as pair:
            for number in rounds:
                with _last_words(pair):
                    _round(pair, report, asked.only)
                _say(f"round {number + 1} of {asked.times}", *report.lines(), *_seen(pair), "")
    return 0 if (report.instances, report.raw, report.went_back) == (1, 1, 0) else 1


@contextmanager
def _last_words(pair: Pair) -> Iterator[None]:
    """Of both agents, where a play fails: the stage and its logs are gone after that."""
    try:
        yield
    except BaseException:
        for log in sorted((pair.directory / "hosts").glob("*/agent.log")):
            _say(f"== {log.parent.name}", *log.read_text().splitlines()[-LAST_LINES:])
        raise


def _round(pair: Pair, report: Report, only: Sequence[str] | None) -> None:
    for name in (name for name in TABLE if not only or name in only):
        play(pair, name, report)
        took = report.failover[name][-1:]
        _say(f"{name}: {took[0]:.1f} s" if took else name)
    if not only:
        two_terminals_at_once(pair, report)
    if not only or UPGRADE in only:
        rolling_upgrade(pair, report)


def _seen(pair: Pair) -> Iterator[str]:
    for what, figures in pair.seen.items():
        yield f"{what}: at most {max(figures):.3g} of {len(figures)}"


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
