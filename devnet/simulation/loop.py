"""An asyncio event loop whose time jumps to whatever is due next; nothing ever waits."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_800_000_000.0  # unix seconds of second 0 of every simulation


class Stuck(RuntimeError):
    """Nothing is scheduled and nothing can happen any more: a deadlock in what is simulated."""


class _Jump(selectors.DefaultSelector):
    """Instead of waiting `timeout` seconds for a file, moves the loop's time on by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is due, ever: something waits for what cannot happen")
        if timeout > 0:
            self.now += timeout
        return []  # no file is ever waited for; asking the kernel costs more than all the rest


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is the virtual unix time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        # The loop rounds up to its clock's resolution; a virtual clock has one of its own.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jump.now


class VirtualClock:
    """The agent's `Clock` over a virtual loop. `skew_seconds` is what a wrong wall clock adds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.skew_seconds = 0.0

    def now(self) -> float:
        return self._loop.time() + self.skew_seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


@dataclass
class StormClock:
    """Wakes a little late, by chance: nothing may hang on the order of equal times."""

    loop: asyncio.AbstractEventLoop
    rng: random.Random
    skew_seconds: float = 0.0

    def now(self) -> float:
        return self.loop.time() + self.skew_seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) + self.rng.random() * 0.004)


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
