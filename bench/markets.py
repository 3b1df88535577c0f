"""MarketV1 beside the registry: the same machine, the same jobs, in turns of one run.

From a block to RunInstances with an agent on each market, a job here and a job there. And 10,000
running jobs on each: both agents live at once, and one's clock nearly stands while the other's
window is counted, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.crowd_stage import SPEED, Stage
from bench.figure import Figure
from bench.latency import one_launch
from bench.rig import rig
from bench.running import CALM_AFTER, decided, on_stage

MARKETS = ("registry", "marketv1")
MOST = 1.2  # of the registry's figure
ROUNDS = 20  # launches on each
JOBS = 10_000
WINDOWS, WINDOW_SECONDS = 5, 60.0  # of the agent's time: one cycle of questions to the enclaves
STANDING = 0.001  # the speed of a clock that nobody counts


def run() -> list[Figure]:
    return [*_launches(), *_running()]


def _launches() -> Iterator[Figure]:
    chance = random.Random(1)
    with ExitStack() as stack:
        rigs = [stack.enter_context(rig(market=market)) for market in MARKETS]
        waited = [[one_launch(each, chance) for each in rigs] for _ in range(ROUNDS)]
    name = "block to RunInstances, 1 in a block, median"
    yield from _beside(name, "s", *map(statistics.median, zip(*waited, strict=True)))


def _running() -> Iterator[Figure]:
    with ExitStack() as stack:
        stages = [stack.enter_context(on_stage(JOBS, market)) for market in MARKETS]
        restarts = [decided(stage) for stage in stages]
        wrong = [stage.wrong() for stage in stages]
        for stage in stages:
            stage.ask("/end-specials")
            stage.clock.set_speed(SPEED)
        stages[0].sleep(CALM_AFTER)
        spent = [[_window(stage, stages) for stage in stages] for _ in range(WINDOWS)]
        peaks = [stage.peak_mib() for stage in stages]
    name = f"{JOBS} running jobs"
    shares = (100 * statistics.fmean(each) for each in zip(*spent, strict=True))
    yield from _beside(f"CPU, {name}", "% of a core", *shares)
    yield from _beside(f"CPU of a restart, {name}", "s", *(cpu for _, cpu in restarts))
    yield from _beside(f"peak RSS, {name}", "MiB", *peaks)
    yield Figure(f"wrong or missing actions, {name}", sum(wrong), "actions", 0, at_most=True)


def _window(stage: Stage, stages: list[Stage]) -> float:
    """CPU seconds of this agent in a second of its time, the others standing."""
    for other in stages:
        other.clock.set_speed(SPEED if other is stage else STANDING)
    time.sleep(1.0)  # what the others were at is done
    begun, spent = stage.clock.now(), stage.cpu()
    stage.sleep(WINDOW_SECONDS)
    return (stage.cpu() - spent) / (stage.clock.now() - begun)


def _beside(name: str, unit: str, registry: float, marketv1: float) -> Iterator[Figure]:
    ratio, note = marketv1 / registry, f"the registry's in the same run: {registry:.3g} {unit}"
    yield Figure(f"{name}, marketv1", marketv1, unit, note=note)
    yield Figure(f"{name}, against the registry", ratio, "x", MOST, ratio, True, note)
