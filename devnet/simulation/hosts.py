"""The lease between simulated hosts: a model of the server's row, under the gate's own code.

The server's clock and the hosts' boot clocks are the simulation's. A host that is cut off hears
nothing of the server; what it had under way leaves all the same, as from a host that is paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from agent.journal.hosts import Gate, LeaseRules, Term
from agent.loop.leading import Leadership
from faults import Fenced

Seconds = Callable[[], float]


@dataclass
class Row:
    """The lease as the server has it."""

    token: str = ""
    number: int = 0
    until: float = float("-inf")


@dataclass
class Server:
    """What all hosts ask. `cut` are those that do not reach it."""

    now: Seconds
    rules: LeaseRules = field(default_factory=LeaseRules)
    row: Row = field(default_factory=Row)
    cut: set[str] = field(default_factory=set)
    _tokens: int = 0

    def take(self, host: str) -> Term | None:
        """The compare and swap of `agent.journal.hosts.take`."""
        if self.row.until >= self.now():
            return None
        self._tokens += 1  # never one that was given before, also when the row went back
        token = f"{host}:{self._tokens}"
        self.row = Row(token, self.row.number + 1, self.now() + self.rules.seconds)
        return Term(token, self.row.number)

    def renew(self, term: Term, seconds: float) -> bool:
        """As `agent.journal.hosts.renew`."""
        if self.row.token != term.token:
            return False
        self.row = Row(self.row.token, self.row.number, self.now() + seconds)
        return True


class SimLease:
    """`agent.loop.leading.Kept` of one life of a host."""

    def __init__(self, server: Server, host: str) -> None:
        self._server, self.host = server, host
        self._gate = Gate(server.rules)
        self._keeping: asyncio.Task[None] | None = None
        self.term: Term | None = None
        self.away = ""
        self.taken: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None

    def held(self) -> bool:
        return self._gate.is_open(self._server.now())

    def is_taken(self) -> bool:
        return self.term is not None

    def fence(self, connection: sa.Connection) -> None:
        """Raises what a driver does while the server is away, Fenced where another led since."""
        if self.host in self._server.cut:
            raise sa.exc.OperationalError("the fence", {}, OSError("no way to the server"))
        if self.term is None or self._server.row.token != self.term.token:
            raise Fenced("another host leads by now")

    def begin(self, leadership: Leadership) -> None:
        """A virtual loop hears nothing of threads: its callbacks are called on it."""
        self.taken = leadership.leads.set
        self.lost = lambda: leadership.break_(Fenced("another host took the lease"))
        self._keeping = asyncio.create_task(self._keep(), name=f"lease-{self.host}")

    def end(self) -> None:
        """As kill -9: nothing is given back."""
        if self._keeping is not None:
            self._keeping.cancel()
        self._gate.shut()

    async def _keep(self) -> None:
        rules = self._server.rules
        while self.turn():
            await asyncio.sleep(rules.renew_seconds if self.term else rules.poll_seconds)

    def turn(self) -> bool:
        """As `agent.journal.lease.ServerLease.turn`."""
        if self.host in self._server.cut:
            self.away = "no way to the server"
            return True
        self.away, asked_at, had = "", self._server.now(), self.term
        if had is not None and not self._server.renew(had, self._server.rules.seconds):
            self._gate.shut()
            self.lost()
            return False
        if had is None:
            self.term = self._server.take(self.host)
        if self.term is not None:
            self._gate.granted(asked_at)
        if self.term is not None and had is None:
            self.taken()
        return True
