"""A token bucket for each region and call, with a queue: who is closest to a deadline goes first.

EC2 throttles by token buckets per account, region and call. Staying inside them here, where it is
known which job is urgent, beats having AWS refuse whoever comes. When AWS refuses all the same
(something else in the account shares the bucket) the rate is halved, and grows back by and by.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from cloud.model import LaunchOrder, Region, always
from faults import RetryLater

log = structlog.get_logger()


class Clock(Protocol):
    """Unix seconds; the same shape as the agent's."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` calls at once, `per_second` after that."""

    burst: float
    per_second: float


# EC2 developer guide, "Request throttling for the Amazon EC2 API": RunInstances 5 and 2 a second;
# other mutating calls 50 and 5; describing calls 100 and 20, of which half is left to others.
LIMITS: Mapping[str, Limit] = {
    "RunInstances": Limit(5, 2),
    "Describe": Limit(50, 10),
    "Change": Limit(50, 5),
}
SLOWEST = 1 / 8  # of the usual rate, however often AWS refuses
RECOVERY = 1.1  # a turn that was not refused lets the rate grow by a tenth


@dataclass(frozen=True, slots=True)
class Urgency:
    """Turns are given by `deadline`; from `latest` on a call would be in vain. Unix seconds.

    `wanted` is asked when the turn comes: what became needless in the queue takes none.
    """

    deadline: float = float("inf")
    latest: float = float("inf")
    wanted: Callable[[], bool] = always

    @classmethod
    def of(cls, order: LaunchOrder) -> Urgency:
        """As the order says."""
        return cls(order.deadline, order.latest, order.wanted)


WHENEVER = Urgency()


class TooLate(RetryLater):
    """The turn did not come while the call still made sense, or was wanted. Nothing was sent."""


class Bucket:
    """Tokens of one call in one region. Pure: the time is passed in."""

    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._factor = 1.0
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until a token is there; 0 when one is."""
        self._refill(now)
        return max(0.0, (1 - self._tokens) / (self._limit.per_second * self._factor))

    def take(self, now: float) -> None:
        """Spend a token."""
        self._refill(now)
        self._tokens -= 1
        self._factor = min(1.0, self._factor * RECOVERY)

    def refused(self, now: float) -> None:
        """AWS refused: what we thought was left is not, and it refills more slowly than thought."""
        self._refill(now)
        self._tokens = min(self._tokens, 0.0)
        self._factor = max(SLOWEST, self._factor / 2)

    def _refill(self, now: float) -> None:
        grown = max(0.0, now - self._at) * self._limit.per_second * self._factor
        # Half a microtoken of slack: a sleep of exactly wait() must end with a token.
        self._tokens = min(self._limit.burst, self._tokens + grown + 5e-7)
        self._at = max(now, self._at)


class Queue:
    """Waiters before one bucket, served by deadline, then by arrival. Who is too late, or wanted no
    more, is sent away and spends no token: what is in vain must not cost the others their turn."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(limit, clock.now())
        self._waiting: list[tuple[float, int, Urgency, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._serving: asyncio.Task[None] | None = None

    async def turn(self, urgency: Urgency) -> None:
        """Return when it is this caller's turn. Raises TooLate."""
        now = self._clock.now()
        free = not self._waiting and self._bucket.wait(now) == 0
        if free and not _in_vain(urgency, now):
            self._bucket.take(now)
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (urgency.deadline, next(self._arrivals), urgency, mine)
        heapq.heappush(self._waiting, waiter)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
            self._serving.add_done_callback(self._served)
        await mine

    def refused(self) -> None:
        """AWS throttled the last call."""
        self._bucket.refused(self._clock.now())

    def _served(self, task: asyncio.Task[None]) -> None:
        """A bug in serving is everybody's answer: none is left to wait for a turn that never comes,
        and who comes next is served anew."""
        bug = None if task.cancelled() else task.exception()
        if bug is not None:
            log.error("budget.broken", error=repr(bug), exc_info=bug)
        elif not task.cancelled():
            return
        if task is not self._serving:
            return  # somebody came since, and has all of them served
        waiting, self._waiting = self._waiting, []
        for *_, waiter in waiting:
            if waiter.done():
                continue
            if bug is None:
                waiter.cancel()
            else:
                waiter.set_exception(RuntimeError(f"the queue for EC2's requests broke: {bug!r}"))

    async def _serve(self) -> None:
        while self._waiting:
            _deadline, _arrival, urgency, first = self._waiting[0]
            now = self._clock.now()
            if first.done():  # its caller gave up waiting
                heapq.heappop(self._waiting)
            elif in_vain := _in_vain(urgency, now):
                heapq.heappop(self._waiting)
                first.set_exception(TooLate(in_vain))
            elif pause := self._bucket.wait(now):
                await self._clock.sleep(pause)
            else:
                heapq.heappop(self._waiting)
                self._bucket.take(now)
                first.set_result(None)


def _in_vain(urgency: Urgency, now: float) -> str:
    """Why the call is not to be made any more; empty: it is."""
    if now >= urgency.latest:
        return "EC2's request budget gives it no turn in time"
    return "" if urgency.wanted() else "it is not wanted any more"


class Budget:
    """One queue for each region and kind of call."""

    def __init__(self, clock: Clock, limits: Mapping[str, Limit] = LIMITS) -> None:
        self._clock = clock
        self._limits = limits
        self._queues: dict[tuple[Region, str], Queue] = {}

    async def turn(self, region: Region, call: str, urgency: Urgency = WHENEVER) -> None:
        """Wait for this caller's turn to make `call` (EC2's own name) in `region`.

        Raises TooLate: it would come when the call is in vain.
        """
        await self._queue(region, call).turn(urgency)

    def refused(self, region: Region, call: str) -> None:
        """AWS throttled `call` in `region`."""
        self._queue(region, call).refused()

    def _queue(self, region: Region, call: str) -> Queue:
        key = (region, call)
        if key not in self._queues:
            self._queues[key] = Queue(self._limit(call), self._clock)
        return self._queues[key]

    def _limit(self, call: str) -> Limit:
        kind = "Describe" if call.startswith(("Describe", "Get")) else "Change"
        return self._limits.get(call, self._limits[kind])
