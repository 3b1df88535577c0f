"""Whatever a server and two hosts do in whatever order: no two gates are open at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.journal.hosts import Gate, LeaseRules

pytestmark = pytest.mark.unit

RULES = LeaseRules(seconds=4.0, margin_seconds=0.5)
TICKS = st.floats(0.0, 3.0, allow_nan=False)


@dataclass
class Server:
    """The lease's row: as `hosts.take` and `hosts.renew` change it, at the server's own time."""

    token: int = 0
    until: float = -1.0
    tokens: int = 0

    def take(self, now: float) -> int | None:
        if self.until >= now:
            return None
        self.tokens += 1
        self.token, self.until = self.tokens, now + RULES.seconds
        return self.token

    def renew(self, token: int, now: float) -> bool:
        if self.token != token:
            return False
        self.until = now + RULES.seconds
        return True


@dataclass
class Host:
    """One that asks; a request travels, and its answer does, for as long as they like."""

    offset: float  # its boot clock against the server's
    gate: Gate = field(default_factory=lambda: Gate(RULES))
    token: int | None = None
    asked_at: float | None = None
    answer: bool | None = None
    fresh: int | None = None


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.server = Server()
        self.hosts = [Host(0.0), Host(5_000.0), Host(-77.0)]

    @rule(seconds=TICKS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 2))
    def asks(self, which: int) -> None:
        host = self.hosts[which]
        if host.asked_at is None:
            host.asked_at = self.now + host.offset

    @rule(which=st.integers(0, 2))
    def arrives(self, which: int) -> None:
        host = self.hosts[which]
        if host.asked_at is None or host.answer is not None:
            return
        if host.token is None:
            host.fresh = self.server.take(self.now)
            host.answer = host.fresh is not None
        else:
            host.answer = self.server.renew(host.token, self.now)

    @rule(which=st.integers(0, 2), lost=st.booleans())
    def hears(self, which: int, lost: bool) -> None:
        host = self.hosts[which]
        if host.answer is None or host.asked_at is None:
            return
        if not lost and host.answer:
            host.gate.granted(host.asked_at)
            host.token = host.token or host.fresh
        elif not lost:
            host.gate.shut()
            host.token = None
        host.asked_at = host.answer = host.fresh = None

    @precondition(lambda self: any(host.token for host in self.hosts))
    @rule(which=st.integers(0, 2))
    def gives_back(self, which: int) -> None:
        host = self.hosts[which]
        if host.token is None or host.asked_at is not None:
            return
        host.gate.shut()
        if self.server.token == host.token:
            self.server.until = self.now
        host.token = None

    @rule()
    def server_forgets_its_tail(self) -> None:
        """A failover to a copy that lags: nobody's time grows by it."""
        self.server.until = min(self.server.until, self.now + RULES.seconds)

    @invariant()
    def one_gate_at_most_is_open(self) -> None:
        at = self.now
        open_ = [host for host in self.hosts if host.gate.is_open(at + host.offset)]
        assert len(open_) <= 1


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
