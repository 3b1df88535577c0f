"""Keeps the lease, in a thread with a connection of its own.

Neither a busy loop nor a hung server makes it renew late or keeps the gate open: the gate shuts by
the boot clock, whoever sleeps. A server that is away is not a lease that is lost: the gate opens
again at the next renewal, if nobody led in between.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
import structlog

from agent.journal import hosts
from agent.journal.engines import changing
from agent.journal.hosts import BootClock, Gate, LeaseRules, Member, Process, Role, Term
from agent.journal.refusals import BehindSchema
from faults import Fault

log = structlog.get_logger()

WAY_SECONDS = 1.0  # for which this host's own writes wait for its renewal, and no longer


def boot_time() -> float:
    """CLOCK_BOOTTIME: goes on while the machine is suspended, and nobody sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerLease:
    """`hosts.Lease` on PostgreSQL. `taken` and `lost` are called from its thread, once each;
    `bring_up` whenever the schema is found to be an older one."""

    def __init__(
        self,
        engine: sa.Engine,
        name: str,
        member: Member,
        rules: LeaseRules,
        clock: BootClock = boot_time,
        bring_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._name, self._member, self._rules = name, member, rules
        self._process = Process(secrets.token_hex(8))
        self._twin = False
        self._clock, self._bring_up = clock, bring_up
        self._gate = Gate(rules)
        # PostgreSQL lets one share of a row after the other pass an update that waits: writes that
        # overlap on a slow disk kept the renewal out for seconds, until the gate shut.
        self._way = threading.Lock()
        self._ending = threading.Event()
        self._released = False
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.term: Term | None = None  # what this host holds, as far as it knows
        self.away = ""  # what the server or the way to it says; empty: it answers
        self.taken: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None

    def held(self) -> bool:
        return self._gate.is_open(self._clock())

    def is_taken(self) -> bool:
        return self.term is not None

    def configured(self, digest: str) -> None:
        """This host's configuration was reloaded: what others hear of it from the next look on."""
        self._member = replace(self._member, config_digest=digest)

    def fence(self, connection: sa.Connection) -> None:
        if self._way.acquire(timeout=WAY_SECONDS):
            self._way.release()
        hosts.fence(connection, self._name, self.term.token if self.term else None)

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """Stop, give the lease back so that another takes it at its next look, and say so. The
        gate is shut. The second time nothing is left to do."""
        if self._released:
            return
        self._released = True
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._gate.shut()
        term, self.term = self.term, None
        try:
            with changing(self._engine, "the lease can't be given back") as connection:
                if term is not None:
                    hosts.renew(connection, self._name, term.token, 0.0)
                hosts.note_member(connection, self._member, Role.ENDS, self._process)
        except Fault as away:
            log.warning("lease.not_given_back", error=str(away))  # it runs out by itself
        else:
            if term is not None:
                log.info("lease.given_back", term=term.number)

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                if not self._turn_on_its_schema():
                    return
            except Fault as away:
                self._unreachable(str(away))
            except Exception as bug:  # a thread that ended here would leave its host waiting
                log.exception("lease.bug", error=repr(bug))
                self._unreachable(repr(bug))
            leads = self.term is not None
            self._ending.wait(self._rules.renew_seconds if leads else self._rules.poll_seconds)

    def _turn_on_its_schema(self) -> bool:
        """A turn; one whose tables are of an older version has them brought up to date."""
        try:
            return self.turn()
        except BehindSchema as behind:
            self._unreachable(str(behind))
            self._bring_up()
            return self.turn()

    def turn(self) -> bool:
        """One look: take, or hold on. False once the lease is lost. Raises RetryLater while the
        server is away."""
        asked_at, had = self._clock(), self.term
        with self._way, changing(self._engine, "the lease can't be looked at") as connection:
            now = self._hold_on(connection, had) if had else self._try(connection)
            role = Role.LEADS if now else Role.ENDS if had else Role.STANDS_BY
            twin = hosts.note_member(connection, self._member, role, self._process)
        self.away, self._process = "", replace(self._process, wrote=True)
        self._note_twin(twin)
        if now is not None:
            self._gate.granted(asked_at)
        if now is not None and had is None:
            self.term = now
            log.info("lease.taken", term=now.number)
            self.taken()
        elif now is None and had is not None:
            self._gate.shut()
            log.error("lease.lost", term=had.number)
            self.lost()
        return now is not None or had is None

    def _try(self, connection: sa.Connection) -> Term | None:
        hosts.make_row(connection, self._name)
        return hosts.take(connection, self._name, self._member.host, self._rules.seconds)

    def _hold_on(self, connection: sa.Connection, term: Term) -> Term | None:
        kept = hosts.renew(connection, self._name, term.token, self._rules.seconds)
        return term if kept else None

    def _note_twin(self, there: bool) -> None:
        """The lease tells them apart by its token; people and `hosts yield` go by the name."""
        if there and not self._twin:
            todo = "give each host a journal.host of its own"
            log.error("lease.same_name", host=self._member.host, todo=todo)
        self._twin = there

    def _unreachable(self, why: str) -> None:
        if not self.away:
            log.error("lease.server_away", error=why)
        self.away = why
