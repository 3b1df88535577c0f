"""Who leads, as the loop sees it: waiting for the lease, and ending when it is lost.

A host that stands by has opened everything and looks at the fleet at the calm pace; it plans
nothing, sends nothing and writes nothing. When its turn comes the loop begins as after any start,
over a fleet that is known already.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
import structlog

from agent.journal.hosts import Alone, Term
from faults import Fenced

log = structlog.get_logger()

END_SECONDS = 1.0  # a call to AWS on a thread can't be cancelled: the process is ended with it
_LOST = "another host took the lease; this one ends, and stands by when it is started again"
_YIELDED = "gave the lease to another host, as ordered; stands by when it is started again"


class Kept(Protocol):
    """A lease that a thread keeps: `agent.journal.lease.ServerLease`."""

    term: Term | None
    away: str
    taken: Callable[[], None]
    lost: Callable[[], None]

    def held(self) -> bool: ...
    def is_taken(self) -> bool: ...
    def fence(self, connection: sa.Connection) -> None: ...


class Leadership:
    """`lease` is what effects and writes ask; None: one host with a file of its own."""

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept
        self.lease = kept or Alone()
        self.leads = asyncio.Event()
        self.break_: Callable[[Fenced], None] = lambda fenced: None
        if kept is None:
            self.leads.set()
            return
        loop = asyncio.get_running_loop()
        kept.taken = lambda: self._take(loop)
        kept.lost = lambda: self._lose(loop)
        if kept.term is not None:
            self.leads.set()

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self.leads.set)

    def _lose(self, loop: asyncio.AbstractEventLoop) -> None:
        end = threading.Timer(END_SECONDS, os._exit, [Fenced.exit_code])
        end.daemon = True
        end.start()
        loop.call_soon_threadsafe(lambda: self.break_(Fenced(_LOST)))

    @property
    def stands_by(self) -> bool:
        """Whether another host leads, or none does yet."""
        return not self.leads.is_set()

    @property
    def term(self) -> int | None:
        """The number of this host's term; None: it stands by, or there is but one host."""
        return self._kept.term.number if self._kept and self._kept.term else None

    @property
    def words(self) -> str:
        """Why this host can't know who leads, and does not act; empty: it knows."""
        away = self._kept.away if self._kept else ""
        return f"the journal's server is away: {away}" if away else ""

    def yield_to_others(self, term: str) -> None:
        """Ordered by a person, of the term that the order names and no later one."""
        if self.term is not None and str(self.term) == term:
            log.info("lease.yielded", term=self.term)
            self.break_(Fenced(_YIELDED))
