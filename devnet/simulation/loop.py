"""An asyncio event loop whose time jumps to whatever is due next; nothing ever waits."""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_800_000_000.0  # unix seconds of second 0 of every simulation


class Stuck(RuntimeError):
    """Nothing is scheduled and nothing can happen any more: a deadlock in what is simulated."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is the virtual unix time. What is due at one time runs in the order it was asked.

    A simulation is a million steps of one callback each, so the step is our own: asyncio's asks
    the kernel for files at every one. Files, sockets and threads never wake this loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = START
        self._due: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle | asyncio.Future[None]]] = []
        self._order = count()

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # typeshed ties the arguments to the callback
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """As asyncio.sleep, in one step: most of a simulation is waiting for answers."""
        due: asyncio.Future[None] = asyncio.Future(loop=self)
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), due))
        await due

    def run_until_complete(self, future: Awaitable[T]) -> T:  # type: ignore[override]  # no generators
        """Raises Stuck when `future` can never be done."""
        task = asyncio.ensure_future(future, loop=self)
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        asyncio._set_running_loop(self)  # noqa: SLF001 - what event loops are to call
        try:
            while not task.done():
                self._step()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
            sys.set_asyncgen_hooks(*before)
        return task.result()

    def _close_generator(self, left: AsyncGenerator[Any, None]) -> None:
        if not self.is_closed():
            self.create_task(left.aclose())

    def _step(self) -> None:
        """Everything that is due; when nothing is, the next that will be."""
        if not self._due:
            self._jump()
        for _ in range(len(self._due)):
            handle = self._due.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - there is no other way to run one

    def _jump(self) -> None:
        while self._timers:
            when, _, timer = heapq.heappop(self._timers)
            if timer.cancelled():
                continue
            self._now = max(self._now, when)
            if isinstance(timer, asyncio.TimerHandle):
                self._due.append(timer)
            else:
                timer.set_result(None)
            return
        raise Stuck("nothing is due, ever: something waits for what cannot happen")


class VirtualClock:
    """The agent's `Clock` over a virtual loop. `skew_seconds` is what a wrong wall clock adds."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew_seconds = 0.0

    def now(self) -> float:
        return self._loop.time() + self.skew_seconds

    async def sleep(self, seconds: float) -> None:
        await self._loop.sleep(max(seconds, 0.0))


@dataclass
class StormClock:
    """Wakes a little late, by chance: nothing may hang on the order of equal times."""

    loop: VirtualLoop
    rng: random.Random
    skew_seconds: float = 0.0

    def now(self) -> float:
        return self.loop.time() + self.skew_seconds

    async def sleep(self, seconds: float) -> None:
        await self.loop.sleep(max(seconds, 0.0) + self.rng.random() * 0.004)


def current() -> VirtualLoop:
    """The virtual loop that the caller runs in."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time, then cancel what it left behind."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
