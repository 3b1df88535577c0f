"""`oyster-provider run` under a scaled clock: `python -m bench.crowd_agent CONFIG CLOCK`."""

from __future__ import annotations

import asyncio
import cProfile
import os
import sys
from pathlib import Path

from agent.config import load
from agent.daemon import serve
from agent.process.log import configure_log
from bench import loop_steps
from bench.crowd import ScaledClock

STEPS = "BENCH_STEPS"  # set: the loop's steps are noted in a file of that name beside the clock's

LONGEST_SLEEP = 1.0  # of the wall's seconds: a speed that changes wakes nobody


class Pace(ScaledClock):
    """`ports.Clock`."""

    async def sleep(self, seconds: float) -> None:
        until = self.now() + seconds
        while True:
            left = (until - self.now()) / self.speed
            await asyncio.sleep(min(max(left, 0.0), LONGEST_SLEEP))
            if left <= LONGEST_SLEEP:
                return


def main(config_file: Path, clock_file: Path) -> None:
    config = load(config_file)
    configure_log(config)
    profile = cProfile.Profile() if os.environ.get("BENCH_PROFILE") else None
    if profile:
        profile.enable()
    if STEPS in os.environ:
        loop_steps.note(clock_file.with_name(os.environ[STEPS]))
    asyncio.run(serve(config, config_file, Pace(clock_file)))
    if profile:
        profile.disable()
        profile.dump_stats(os.environ["BENCH_PROFILE"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
