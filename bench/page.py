"""The status page beside a real agent with 1,000 and 10,000 running jobs: what a refresh costs.

In a headless Chromium on a desktop's window: bytes on the wire and seconds of its main thread, by
its own performance counters, from one refresh to the next. And how long one step of the agent's
loop, which answers between its other work, takes while it answers: a start waits for no more.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx

from agent.config import load
from bench.browser import PROGRAM, Screen, Tab, browser
from bench.crowd_agent import STEPS
from bench.crowd_stage import Stage
from bench.figure import Figure, NotRun
from bench.loop_steps import Steps, between
from bench.running import SIZES, decided, on_stage

REFRESHES = 10
ANSWERS = 30
MAIN_THREAD_MS = 100.0  # a tenth of a second a refresh
JOBS_SHARE = 1.5  # all jobs written in one piece were 20 of a calm loop's steps
CALM_SECONDS = 20.0  # of the agent's time
T = TypeVar("T")
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Refresh:
    """Of one size: means, milliseconds and kB; `answer` is the median."""

    main_thread: float
    kilobytes: float
    answer: float
    whole: float  # /jobs, with every job, as `status --json` asks for it
    beside: float  # /healthz while that is written: the worst of them
    calm: Steps  # of the agent's loop, while nobody asks
    now: Steps  # while /now is asked for, ANSWERS times
    jobs: Steps  # while /jobs is written once


def run() -> list[Figure]:
    if PROGRAM is None:
        raise NotRun("no chromium: apt-get install chromium")
    return [figure for size in SIZES for figure in _figures(size, _measure(size))]


def _figures(size: int, found: Refresh) -> Iterator[Figure]:
    name = f"{size} running jobs"
    counted = f"Chromium's TaskDuration over {REFRESHES} refreshes"
    yield Figure(
        f"main thread, a refresh, {name}", found.main_thread, "ms", MAIN_THREAD_MS, at_most=True,
        note=counted,
    )  # fmt: skip
    yield Figure(f"bytes, a refresh, {name}", found.kilobytes, "kB")
    note = (
        f"/jobs, which holds every job, takes {found.whole:.0f} ms, and /healthz meanwhile "
        f"{found.beside:.0f} ms at most"
    )
    yield Figure(f"an answer of the agent, {name}", found.answer, "ms", note=note)
    yield Figure(f"longest step of a calm loop, {name}", found.calm.longest, "ms of CPU")
    share = found.jobs.longest / max(found.calm.longest, 1.0)
    yield Figure(
        f"longest step while /jobs is written, by a calm loop's, {name}", share, "x",
        JOBS_SHARE, ratio=share, at_most=True,
        note=f"{found.jobs.longest:.0f} of {found.jobs.together:.0f} ms, with /now "
        f"{found.now.longest:.0f}",
    )  # fmt: skip


def _measure(size: int) -> Refresh:
    noted = on_stage(size, own={STEPS: "steps"})
    with noted as agent, TemporaryDirectory(prefix="oyster-bench-page-") as profile:
        decided(agent)
        url, steps = f"http://{_listen(agent)}", agent.directory / "steps"
        main_thread, kilobytes = asyncio.run(_browse(agent, url, Path(profile)))
        (whole, beside), jobs = _stepped(steps, lambda: _whole(url))
        answer, now = _stepped(steps, lambda: _median(f"{url}/now"))
        _, calm = _stepped(steps, lambda: agent.sleep(CALM_SECONDS))
        return Refresh(main_thread, kilobytes, answer, whole, beside, calm, now, jobs)


def _stepped(file: Path, work: Callable[[], T]) -> tuple[T, Steps]:
    begun = time.monotonic()
    done = work()
    return done, between(file, begun, time.monotonic())


def _whole(url: str) -> tuple[float, float]:
    """Milliseconds of one /jobs, and of the slowest /healthz that was asked meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_median, f"{url}/jobs", 1)
        beside = [_median(f"{url}/healthz", 1)]
        while not asked.done():
            beside.append(_median(f"{url}/healthz", 1))
        return asked.result(), max(beside)


def _listen(agent: Stage) -> str:
    return load(agent.directory / "provider.toml", {}).status.listen


async def _browse(agent: Stage, url: str, profile: Path) -> tuple[float, float]:
    """Milliseconds of the main thread and kilobytes, of one refresh."""
    async with browser(profile) as tab:
        await tab.on(Screen(1280, 900))
        await tab.open(f"{url}/", "document.querySelectorAll('#jobs-rows tr').length")
        await tab.until("document.querySelector('#types tr td')")
        await _refreshes(agent, tab, 2)  # what is made once is made
        before = await tab.counters()
        count, size = await _refreshes(agent, tab, REFRESHES)
        spent = (await tab.counters())["TaskDuration"] - before["TaskDuration"]
        return spent / count * 1000, size / count / 1000


async def _refreshes(agent: Stage, tab: Tab, wanted: int) -> tuple[int, float]:
    """Wait for so many answers of /now; how many there were, and their bytes."""
    tab.said.clear()
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        asked = {
            one["params"]["requestId"]
            for one in tab.said
            if one["method"] == "Network.requestWillBeSent"
            and "/now" in one["params"]["request"]["url"]
        }
        done = [
            one["params"]["encodedDataLength"]
            for one in tab.said
            if one["method"] == "Network.loadingFinished" and one["params"]["requestId"] in asked
        ]
        if len(done) >= wanted:
            return len(done), sum(done)
        agent.drain()
        await asyncio.sleep(0.1)
    raise TimeoutError(f"the page did not ask {wanted} times within {PATIENCE_SECONDS:.0f} s")


def _median(url: str, answers: int = ANSWERS) -> float:
    """Milliseconds from the question to the whole answer."""
    took = []
    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(answers):
            begun = time.perf_counter()
            client.get(url).raise_for_status()
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000
