"""New heads, and the jobs whose events came with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import structlog

from agent.chain.events import Cursor, EventReader
from agent.chain.head import Head, HeadFollower
from agent.chain.rpc import NodeRefused
from agent.market.model import JobId
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

# What logs say is only that a job may have changed; the lists that are compared beside them say it
# too, a little later. So a range that no node answers (pruned, or not of this plan), or one that
# takes minutes to read, must not keep the newest blocks from being read.
UNREAD_SECONDS = 30  # of chain time, for which a range is refused: a backend that lags is met less
MOST_BEHIND = 100_000  # blocks: 50 ranges of the default width, seven hours of 0.25 s


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
        self._refused_at: int | None = None  # chain's second since which nodes say no to a range
        self._skipped = False  # and that was said

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
        self._skip_what_is_far(head)
        try:
            changes = await self._events.changes(self._cursor, head)
        except (RetryLater, TryElsewhere) as fault:
            self._note_missed(fault, head)
            return []
        self._missed, self._refused_at = 0, None
        self._skipped = self._skipped and self._cursor is None
        if changes.cursor != self._cursor:
            self._cursor = changes.cursor
            self._save(changes.cursor)
        return sorted(changes.jobs)

    def _note_missed(self, fault: Exception, head: Head) -> None:
        # The first may be a backend that lags: the next look finds another.
        say = log.warning if self._missed else log.info
        say("chain.no_events", error=str(fault))
        self._missed += 1
        if not isinstance(fault, NodeRefused):
            self._refused_at = None
        elif self._refused_at is None:
            self._refused_at = head.block.timestamp

    def _skip_what_is_far(self, head: Head) -> None:
        if self._cursor is None:
            return
        last, since = self._cursor.last.number, self._refused_at
        refused = since is not None and head.block.timestamp - since >= UNREAD_SECONDS
        if not refused and head.block.number - last <= MOST_BEHIND:
            return
        say = log.info if self._skipped else log.error
        say("chain.events_skipped", first=last + 1, last=head.block.number)
        self._cursor, self._refused_at, self._skipped = None, None, True


async def _first_of(heads: AsyncGenerator[Head, None]) -> Head:
    return await anext(heads)
