"""Where what may wait for a server is done, so that the loop does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Aside(Protocol):
    """Does some work and returns what it returned."""

    async def __call__(self, work: Callable[[], T]) -> T: ...


async def at_once(work: Callable[[], T]) -> T:
    """On the loop, without giving it away: for a file, which answers in less time than a thread."""
    return work()


async def in_thread(work: Callable[[], T]) -> T:
    """On any thread: for what is long, and asked for once."""
    return await asyncio.to_thread(work)


class OnThread:
    """On one thread of its own, one after the other in the order they were asked for. Who stops
    waiting does not stop what was begun."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Wait for what is under way; drop what was not begun."""
        self._thread.shutdown(cancel_futures=True)
