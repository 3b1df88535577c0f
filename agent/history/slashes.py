"""Slashes of ours, as the logs that the watcher reads anyway tell them.

A job slashes a provider once at most: whoever was slashed on it is never matched with it again
(protocol, rule 7). So one line a job is exact, however often a log is read. A slash that a fork
took back stays told. What happened while the agent was down is read at its next start, from the
final block that the journal noted last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import structlog

from agent.aside import Aside, at_once
from agent.chain.events import Cursor, EventReader, Mark
from agent.chain.head import MOST_SECONDS, Head, HeadTracker
from agent.chain.rpc import NodeRefused, integer
from agent.decide.plan import Level
from agent.journal.lines import SLASHED, Event
from agent.journal.reading import Put, Reader
from agent.journal.writing import Journal
from agent.market.model import Address, JobId
from agent.markets.registry.reads import changed_jobs, registry_abi
from agent.ports import Clock
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

READ = "slashes.read"  # the agent's own line: slashes up to this final block are told
EVERY_SECONDS = 3600.0  # between two such lines; so much is read again after a crash
# A counter that starts at its new value has not risen for whoever scrapes it: let them see the old.
FIRST_SECONDS = 60.0
AGAIN_SECONDS = 60.0  # after nodes that could not tell; twice as long each time, to EVERY_SECONDS


class Slashes:
    """Stands where logs come in: `jobs_in` names the jobs, and `tell` hears of slashes of ours."""

    def __init__(
        self,
        provider: Address,
        clock: Clock,
        tell: Callable[[Event], None],
        symbol: str = "POND",
        decimals: int = 18,
    ) -> None:
        self._symbol, self._decimals = symbol, decimals  # of the stake's token
        self._provider = provider
        self._clock = clock
        self._tell = tell
        self._told: set[JobId] = set()

    def restore(self, reader: Reader) -> Put:
        """What the journal has was told, and nothing else: what was heard while another host led
        may be in no journal, and is read back from where that one came to."""
        return partial(self._put, reader.last(SLASHED).keys())

    def _put(self, told: Iterable[JobId]) -> None:
        self._told = set(told)

    def jobs_in(self, logs: Sequence[Mapping[str, Any]]) -> set[JobId]:
        """The jobs that these logs speak of, but for events that name another provider."""
        for each in logs:
            self._look(each)
        return changed_jobs(logs, self._provider)

    @cached_property
    def _topic(self) -> str:
        return slash_topic()

    def _look(self, log: Mapping[str, Any]) -> None:
        topics = log.get("topics") or [None]
        if topics[0] != self._topic:
            return
        for job in changed_jobs([log], self._provider) - self._told:
            self._told.add(job)
            amount = _amount(log.get("data"))
            shown = f"{amount / 10**self._decimals:g} {self._symbol}"
            text = f"stake was slashed for this job: {shown}"
            fields = {"amount": str(amount)}
            self._tell(Event(self._time(log), SLASHED, job, None, Level.ERROR, text, fields))

    def _time(self, log: Mapping[str, Any]) -> float:
        """The block's, where the node says it in the log; else when it was seen."""
        try:
            return float(integer(log.get("blockTimestamp"), MOST_SECONDS))
        except NodeRefused:
            return self._clock.now()


class SlashHistory:
    """Reads the slashes of blocks that nobody watched; `follow` runs until it is cancelled.

    `noted_as` is the agent's own line that says how far it came; with another one it reads what
    else is told by events alone. `also` reads of the same blocks what more than one node must tell.
    """

    def __init__(
        self,
        events: EventReader,
        tracker: HeadTracker,
        journal: Journal,
        clock: Clock,
        noted_as: str = READ,
        aside: Aside = at_once,
        also: Callable[[Cursor, Head], Awaitable[None]] | None = None,
    ) -> None:
        self._noted_as = noted_as
        self._also = also
        self._aside = aside
        self._events = events
        self._tracker = tracker
        self._journal = journal
        self._clock = clock

    async def follow(self) -> None:
        """Read from where the journal stands, and move that on once an hour."""
        await self._clock.sleep(FIRST_SECONDS)
        again = AGAIN_SECONDS
        while True:
            try:
                await self.read()
            except (RetryLater, TryElsewhere) as fault:
                log.info("history.later", read=self._noted_as, error=str(fault))
                pause, again = again, min(2 * again, EVERY_SECONDS)
            else:
                pause, again = EVERY_SECONDS, AGAIN_SECONDS
            await self._clock.sleep(pause)

    async def read(self) -> None:
        """Everything since the last noted block. Raises RetryLater, TryElsewhere."""
        head, cursor = await self._tracker.poll(), await self._aside(self._noted)
        if cursor is not None:
            changes = await self._events.changes(cursor, head)
            if changes.as_of < head.finalized.number:
                raise RetryLater(f"slashes are read up to block {changes.as_of} only")
            if self._also is not None:
                await self._also(cursor, head)
        self._note(head)

    def _noted(self) -> Cursor | None:
        lines = Reader(self._journal.engine).own(self._noted_as)
        if not lines:
            return None
        fields = lines[-1].fields
        return Cursor((Mark(int(fields["block"]), str(fields["hash"])),))

    def _note(self, head: Head) -> None:
        final = head.finalized
        fields = {"block": final.number, "hash": final.hash}
        self._journal.event(Event(self._clock.now(), self._noted_as, fields=fields))
        self._journal.flush_soon()


def slash_topic() -> str:
    """The one event that the history asks for."""
    return registry_abi().topics["JobSlashed"]


def _amount(data: object) -> int:
    """JobSlashed's one unindexed field, POND base units; 0 when a node's log has none."""
    try:
        return integer(data)
    except NodeRefused:
        return 0
