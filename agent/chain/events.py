"""Events since a cursor, through forks: "these jobs may have changed as of block B", never more.

The cursor is plain data. It remembers the ends of the ranges scanned down to finality, each with
its block hash and the jobs seen in it; when one is no longer on the chain, its jobs are looked at
again and what replaced it is scanned. Ranges are split when a node can't answer them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from agent.chain.head import Head, block_ref, block_request
from agent.chain.rpc import Json, NodeRefused, Reader, Request
from agent.market.model import Address, BlockRef, JobId
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

MAX_RANGE_BLOCKS = 10_000  # what public nodes commonly take; smaller ones are found by halving
FAR_BLOCKS = 1_000  # above the head a mark is no fork's and no lagging node's: it was a claim
MAX_MARKS = 64  # of a cursor: one exchange finds where a fork began, and storing it stays cheap
Log = dict[str, Any]  # a log as eth_getLogs answers it


class HeadMoved(RetryLater):
    """The head asked for is not on the chain that answers: take a new head and ask again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a scanned range, and the jobs that its events named."""

    number: int
    hash: str
    jobs: frozenset[JobId] = frozenset()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where scanning stands: the last mark. Older marks, oldest first, are there for forks."""

    marks: tuple[Mark, ...]

    @classmethod
    def at(cls, head: Head) -> Cursor:
        """From the head on, and back to what is final should the head go away."""
        blocks = (head.finalized, head.block)
        return cls(tuple(Mark(block.number, block.hash) for block in dict.fromkeys(blocks)))

    @property
    def last(self) -> Mark:
        return self.marks[-1]

    def to_json(self) -> Json:
        """Lists, numbers and strings, for whoever stores it."""
        return [[mark.number, mark.hash, sorted(mark.jobs)] for mark in self.marks]

    @classmethod
    def from_json(cls, stored: Json) -> Cursor:
        return cls(tuple(Mark(n, h, frozenset(map(JobId, jobs))) for n, h, jobs in stored))


@dataclass(frozen=True, slots=True)
class Changes:
    """Jobs to look at again, and the cursor to keep. `resync`: look at all, whatever is named."""

    jobs: frozenset[JobId]
    as_of: int  # block number up to which events were seen; below the head: ask again
    cursor: Cursor
    resync: bool = False


class EventReader:
    """Reads the logs of one contract. `jobs_in` names the jobs that logs speak of; `heard` is told
    all of them, again where a fork has them read again."""

    def __init__(
        self,
        reader: Reader,
        contract: Address,
        topics: Sequence[str],
        jobs_in: Callable[[Sequence[Log]], Collection[JobId]],
        max_range_blocks: int = MAX_RANGE_BLOCKS,
    ) -> None:
        self._reader = reader
        self._filter = {"address": contract, "topics": [list(topics)]}
        self._jobs_in = jobs_in
        self.heard: Callable[[Sequence[Log]], None] = lambda logs: None
        self._max_span = max_range_blocks
        self._span = max_range_blocks

    async def changes(self, cursor: Cursor | None, head: Head) -> Changes:
        """What may have changed between the cursor and `head`.

        Without a cursor, or with one far above the head: everything, from here on. When nodes fail
        midway, what was read is returned (`as_of` below the head). Raises RetryLater or
        TryElsewhere when nothing was.
        """
        near = None if cursor is None else _within(cursor, head.block.number + FAR_BLOCKS)
        if near is None:
            return Changes(frozenset(), head.block.number, Cursor.at(head), resync=True)
        cursor = near
        if cursor.last.hash == head.block.hash:
            return Changes(frozenset(), head.block.number, cursor)
        start, dropped, differs = await self._on_this_chain(cursor, head)
        if start is None and differs:
            log.error("chain.fork_below_finality", finalized=cursor.marks[0].number)
            return Changes(dropped, head.block.number, Cursor.at(head), resync=True)
        if start is None:
            raise HeadMoved(f"the node that answers is behind block {cursor.marks[0].number}")
        scanned = await self._scan(start, head)
        seen = scanned.jobs | dropped
        # A shorter chain is a fork or a node that lags: only the former will differ at some height.
        # Until it does the marks stay, and what they name is looked at again.
        kept = scanned.cursor if differs or start is cursor else cursor
        return Changes(seen, scanned.as_of, kept)

    async def _on_this_chain(
        self, cursor: Cursor, head: Head
    ) -> tuple[Cursor | None, frozenset[JobId], bool]:
        """The cursor back to its newest mark still on the chain, the jobs of the others, and
        whether one of them differs there. Raises HeadMoved: the node has not got that far."""
        hashes = await self._hashes([cursor.last.number])
        if hashes[0] == cursor.last.hash:
            return cursor, frozenset(), False
        hashes = await self._hashes([mark.number for mark in cursor.marks])
        marks = list(zip(cursor.marks, hashes, strict=True))
        kept = 1 + max(
            (n for n, (mark, hash_) in enumerate(marks) if mark.hash == hash_), default=-1
        )
        gone = frozenset(job for mark in cursor.marks[kept:] for job in mark.jobs)
        differs = any(hash_ is not None for _, hash_ in marks[kept:])
        if not differs and cursor.last.number <= head.block.number:
            raise HeadMoved(f"the node that answers has not got block {cursor.last.number} yet")
        if differs:
            log.warning("chain.reorganised", marks_gone=len(marks) - kept, jobs=sorted(gone))
        return (Cursor(cursor.marks[:kept]) if kept else None), gone, differs

    async def _hashes(self, numbers: Sequence[int]) -> list[str | None]:
        answers = await self._reader.batch([block_request(number) for number in numbers])
        found = zip(numbers, answers, strict=True)
        return [None if each is None else block_ref(each, n).hash for n, each in found]

    async def _scan(self, cursor: Cursor, head: Head) -> Changes:
        jobs: frozenset[JobId] = frozenset()
        start = cursor.last
        while cursor.last.number < head.block.number:
            try:
                mark = await self._range(cursor.last.number + 1, head.block)
            except (RetryLater, TryElsewhere):
                if cursor.last == start:
                    raise
                break
            jobs |= mark.jobs
            cursor = _pruned((*cursor.marks, mark), head.finalized)
        return Changes(jobs, cursor.last.number, cursor)

    async def _range(self, first: int, head: BlockRef) -> Mark:
        """Scan one range from `first`, as wide as nodes take it."""
        while True:
            last = min(head.number, first + self._span - 1)
            try:
                end, logs = await self._logs(first, last)
            except (RetryLater, TryElsewhere) as fault:
                alone = first == last
                self._span = max(1, (last - first + 1) // 2)
                if alone or not isinstance(fault, NodeRefused):
                    raise
                continue
            if last == head.number and end.hash != head.hash:
                raise HeadMoved(f"block {head} is not on the chain of the node that answers")
            self._span = min(self._max_span, self._span * 2)
            self.heard(logs)
            return Mark(end.number, end.hash, frozenset(self._jobs_in(logs)))

    async def _logs(self, first: int, last: int) -> tuple[BlockRef, list[Log]]:
        """Logs and the block they end in, from one node in one exchange: a node that lags answers
        logs up to where it is, and only the missing block tells."""
        query = {**self._filter, "fromBlock": hex(first), "toBlock": hex(last)}
        requests = [Request("eth_getLogs", (query,)), block_request(last)]
        logs, end = await self._reader.batch(requests)
        return block_ref(end, last), logs_of(logs)


def logs_of(answer: Json) -> list[Log]:
    """What eth_getLogs answers: each with its topics as text. Raises NodeRefused: something else;
    what is no log may stand for one that would name a job."""
    if not isinstance(answer, list) or not all(_is_log(each) for each in answer):
        raise NodeRefused("a node answers no list of logs")
    return answer


def _is_log(each: Json) -> bool:
    topics = each.get("topics") if isinstance(each, dict) else None
    return isinstance(topics, list) and all(isinstance(topic, str) for topic in topics)


def _within(cursor: Cursor, most: int) -> Cursor | None:
    """Without marks at heights that were one node's claim; None: nothing is left."""
    kept = tuple(mark for mark in cursor.marks if mark.number <= most)
    return cursor if kept == cursor.marks else Cursor(kept) if kept else None


def _pruned(marks: tuple[Mark, ...], finalized: BlockRef) -> Cursor:
    """Without the marks that no fork within finality can need: all final ones but the newest.

    Where finality is far, older marks are joined by twos: a fork then rescans a little more.
    """
    final = [mark for mark in marks if mark.number <= finalized.number]
    kept = (*final[-1:], *marks[len(final) :])
    if len(kept) <= MAX_MARKS:
        return Cursor(kept)
    old, new = kept[1 : MAX_MARKS // 2], kept[MAX_MARKS // 2 :]
    joined = [
        Mark(later.number, later.hash, earlier.jobs | later.jobs)
        for earlier, later in zip(old[0::2], old[1::2], strict=False)
    ]
    return Cursor((kept[0], *joined, *old[len(joined) * 2 :], *new))
