"""New heads, and the jobs whose events came with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import structlog

from agent.chain.events import Cursor, EventReader
from agent.chain.head import Head, HeadFollower
from agent.market.model import JobId
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()


class ChainWakes:
    """`ports.Wakes`: heads and the jobs whose events came with them. Remembers its cursor."""

    def __init__(
        self,
        follower: HeadFollower,
        events: EventReader,
        cursor: Cursor | None = None,
        save: Callable[[Cursor], None] = lambda cursor: None,
    ) -> None:
        self._heads = follower.heads()
        self._events = events
        self._cursor = cursor
        self._save = save
        self._next: asyncio.Task[Head] | None = None
        self._missed = 0  # looks in a row

    async def wait(self) -> Sequence[JobId]:
        """Cancelling it loses nothing: the next call takes up the same head."""
        if self._next is None:
            self._next = asyncio.create_task(_first_of(self._heads))
        head = await asyncio.shield(self._next)
        self._next = None
        return await self._changes(head)

    async def close(self) -> None:
        """End the polling and the subscription."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._heads.aclose()

    async def _changes(self, head: Head) -> Sequence[JobId]:
        try:
            changes = await self._events.changes(self._cursor, head)
        except (RetryLater, TryElsewhere) as fault:
            # The first may be a backend that lags: the next look finds another.
            say = log.warning if self._missed else log.info
            say("chain.no_events", error=str(fault))
            self._missed += 1
            return []
        self._missed = 0
        if changes.cursor != self._cursor:
            self._cursor = changes.cursor
            self._save(changes.cursor)
        return sorted(changes.jobs)


async def _first_of(heads: AsyncGenerator[Head, None]) -> Head:
    return await anext(heads)
