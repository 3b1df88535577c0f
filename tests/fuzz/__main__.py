"""The fuzzers for as long as asked: `python -m tests.fuzz SECONDS [NAME ...]` (`make fuzz`).

A fuzzer is a file `test_fuzz_NAME.py` anywhere below tests/, of hypothesis properties that take
`max_examples` from `tests.fuzz.budget.examples`: in `make test` each runs for seconds. Here they
run round after round, each with another seed, until the time is over; a failure ends it and
prints the example and the seed that found it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.budget import VARIABLE

TESTS = Path(__file__).parent.parent
ROUND_TIMES = 2  # the usual number of examples, in one round: more rounds are more seeds
PREFIX = "test_fuzz_"


def fuzzers() -> dict[str, Path]:
    """By name, all that there are."""
    return {path.stem.removeprefix(PREFIX): path for path in sorted(TESTS.rglob(f"{PREFIX}*.py"))}


def main(argv: list[str] | None = None, now: Callable[[], float] = time.monotonic) -> int:
    """0: nothing found; 1: something was; 2: no such fuzzer."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(fuzzers()))
    parser.add_argument("--seed", type=int, help="of the first round; the next has the next one")
    given = parser.parse_args(argv)
    unknown = set(given.names) - fuzzers().keys()
    if unknown:
        parser.error(f"no fuzzer {', '.join(sorted(unknown))}; there are {', '.join(fuzzers())}")
    chosen = [path for name, path in fuzzers().items() if name in given.names or not given.names]
    until, seed = now() + given.seconds, given.seed or int(time.time())
    rounds = 0
    while now() < until:
        if not _round(chosen, seed + rounds):
            print(f"found in round {rounds + 1}; again: --seed {seed + rounds}")  # noqa: T201 - its result
            return 1
        rounds += 1
    print(f"{rounds} rounds from seed {seed} found nothing")  # noqa: T201 - its result
    return 0


def _round(paths: list[Path], seed: int) -> bool:
    arguments = ["-q", "-x", "--no-header", "--timeout=0", f"--hypothesis-seed={seed}"]
    command = [sys.executable, "-m", "pytest", *arguments, *map(str, paths)]
    environment = {**os.environ, VARIABLE: str(ROUND_TIMES)}
    return subprocess.run(command, cwd=TESTS.parent, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
