"""The table of faults, many times: `python -m tests.failover TIMES` (`make failover TIMES=20`).

Prints how long the other host took, and how often anything was done twice. The first is a machine's
figure; the second has to be 1, 1 and never back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.failover.plays import TABLE, Report, on_stage, play, two_terminals_at_once

SHIPPED_LEASE_SECONDS = 4.0


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    words.add_argument("times", type=int)
    words.add_argument("--lease", type=float, default=SHIPPED_LEASE_SECONDS, help="seconds")
    words.add_argument("--only", choices=TABLE, help="this row alone")
    asked, report = words.parse_args(), Report()
    names = [asked.only] if asked.only else list(TABLE)
    with tempfile.TemporaryDirectory() as folder, on_stage(Path(folder), asked.lease) as pair:
        for number in range(asked.times):
            for name in names:
                play(pair, name, report)
                _say(f"{name}: {report.failover[name][-1]:.1f} s")
            if not asked.only:
                two_terminals_at_once(pair, report)
            _say(f"round {number + 1} of {asked.times}", *report.lines(), "")
    return 0 if (report.instances, report.raw, report.went_back) == (1, 1, 0) else 1


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
