"""What makes the loop look again: jobs whose chain state may have changed, and times that came.

Only hints: a wake that is lost is made up for by the next resync, a doubled one costs one look.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable

from agent.clock import JUMP_SECONDS
from agent.market.model import JobId


class Agenda:
    """Which jobs to look at now, and when next. Each job has one entry, the earliest asked for.

    Cost is that of a heap: waiting jobs cost nothing until their time comes (rule 8).
    """

    def __init__(self) -> None:
        self._times: list[tuple[float, JobId]] = []
        self._at: dict[JobId, float] = {}
        self._now: set[JobId] = set()
        self.woken = asyncio.Event()
        self._taken_at = float("-inf")

    def wake(self, jobs: Iterable[JobId]) -> None:
        """Look at these at once."""
        self._now.update(jobs)
        if self._now:
            self.woken.set()

    def put_off(self, job: JobId, until: float | None) -> None:
        """Look at the job at `until`; None: only when something wakes it."""
        if until is None:
            self._at.pop(job, None)
            return
        self._at[job] = until
        heapq.heappush(self._times, (until, job))

    def drop(self, job: JobId) -> None:
        """The job is over: nothing to look at."""
        self._at.pop(job, None)
        self._now.discard(job)

    def next_time(self) -> float | None:
        """When the earliest entry is due (unix seconds); None when nothing is waited for."""
        while self._times and self._at.get(self._times[0][1]) != self._times[0][0]:
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def due(self, now: float) -> list[JobId]:
        """Those whose time alone has come, and forget it; what was woken stays for `take`."""
        found: list[JobId] = []
        while (due := self.next_time()) is not None and due <= now:
            _, job = heapq.heappop(self._times)
            del self._at[job]
            if job not in self._now:
                found.append(job)
        return found

    def take(self, now: float) -> list[JobId]:
        """Everything to look at now, and forget that it was asked for.

        When the clock went back, that is all: what was put off was so by a clock that was ahead.
        """
        if now < self._taken_at - JUMP_SECONDS:
            self._now.update(self._at)
        self._taken_at = now
        self._now.update(self.due(now))
        taken = sorted(self._now)
        self._now.clear()
        self.woken.clear()
        return taken
