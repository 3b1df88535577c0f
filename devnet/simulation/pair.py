"""Two hosts in one storm: one leads, the other stands by, and their database is not safe either.

Beside all that the storm does to whoever leads, hosts are cut off from the database, the database
is away or forgets its last seconds, and the lease is handed over.
"""

from __future__ import annotations

import random
import sqlite3
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from devnet.simulation import loop
from devnet.simulation.hosts import Row, Server, SimLease
from devnet.simulation.lives import RESTART_SECONDS, Lives
from devnet.simulation.process import Life, Manner
from devnet.simulation.scenario import LONGEST, rules
from devnet.simulation.storm import Storm
from devnet.simulation.storm_troubles import Trouble
from faults import Fenced

HOSTS = ("a", "b")
LOOK_SECONDS = 1.0
TAIL_LOOKS = 4  # of what a database forgets at most, which is a snapshot a look
LASTING_LOOKS = 20  # seconds a look where jobs live for days: a snapshot costs a millisecond
# A look: how often something of these begins, of a thousand looks.
CUT, AWAY, FORGETS, YIELDS = 6, 2, 2, 2


@dataclass
class Host:
    """One life of a host and its lease; `off_until`: the second at which it may start again."""

    life: Life | None = None
    lease: SimLease | None = None
    off_until: float = 0.0

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.alive


@dataclass
class PairOfLives(Lives):
    """Both hosts' lives. `process` is that of the host that leads."""

    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.server = Server(self.stage.clock.now)
        self.rng = random.Random(f"{self.stage.what.seed}:hosts")
        self.hosts = {name: Host() for name in HOSTS}
        self._every = LASTING_LOOKS if self.stage.what.longest > LONGEST else 1
        self._tails: deque[tuple[bytes, Row]] = deque(maxlen=TAIL_LOOKS if self._every == 1 else 1)

    @property
    def process(self) -> Life:  # type: ignore[override] # there it is a field
        """Of the host that holds the lease, else of one that lives, else the last that did."""
        held = [one for one in self.hosts.values() if one.lease and one.lease.held()]
        alive = [one for one in self.hosts.values() if one.alive]
        found = [*held, *alive, *self.hosts.values()][0].life
        assert found is not None
        return found

    def start(self) -> None:
        """All hosts that are on and do not run."""
        for name, host in self.hosts.items():
            if not host.alive and self.stage.second() >= host.off_until:
                self._start(name, host)

    def _start(self, name: str, host: Host) -> None:
        from agent.decide.listings import OfferRules

        self.count += 1
        self.stage.chain.restart()
        host.lease = SimLease(self.server, name)
        offers = OfferRules(probe_seconds=60)
        manner = Manner(self.engine, rules(), offers, self._hook, self._hear, host.lease)
        host.life = self.begin(manner)
        self.stage.note(f"agent starts on {name}")

    def kill(self, trouble: Trouble) -> None:
        """The host that leads is off; with the journal's file the database's tail goes."""
        struck = next((one for one in self.hosts.values() if one.life is self.process), None)
        if struck is not None:
            struck.off_until = trouble.until
        lost, self.lost_at = self.lost_at, float("inf")
        super().kill(trouble)
        if self.lost_at < float("inf"):
            self._forget()
        self.lost_at = lost

    async def supervise(self) -> None:
        """systemd on each host, and what becomes of the hosts' database."""
        ended = dict.fromkeys(HOSTS, 0.0)
        for look in count():
            await self.stage.clock.sleep(LOOK_SECONDS)
            if look % self._every == 0:
                self._happens()
            for name, host in self.hosts.items():
                if host.alive:
                    ended[name] = self.stage.second() + RESTART_SECONDS
                elif self.stage.second() >= max(ended[name], host.off_until):
                    self._end(host)
                    self._start(name, host)

    def _end(self, host: Host) -> None:
        if host.lease is not None:
            host.lease.end()
        if host.life is not None:
            self._why(host.life)

    def _why(self, life: Life) -> None:
        error = None if life.task.cancelled() else life.task.exception()
        if not isinstance(error, Fenced):
            self._why_task_ended(life.task)

    def _happens(self) -> None:
        self._keep_tail()
        if self.stage.second() > max((t.until for t in self.plan.troubles), default=0.0):
            return  # what is left over then has to come to its end
        drawn, seconds = self.rng.randrange(1000), self.rng.uniform(1.0, 20.0)
        leads = next((n for n, h in self.hosts.items() if h.lease and h.lease.held()), "")
        if drawn < CUT and leads:
            self._cut({leads}, seconds, "host cut off")
        elif drawn < CUT + AWAY:
            self._cut(set(HOSTS), seconds / 3, "database away")
        elif drawn < CUT + AWAY + FORGETS:
            self._forget()
        elif drawn < CUT + AWAY + FORGETS + YIELDS and leads:
            self._yield(self.hosts[leads])

    def _cut(self, hosts: set[str], seconds: float, what: str) -> None:
        self._note(what)
        self.server.cut |= hosts
        loop.current().call_later(seconds, lambda: self.server.cut.difference_update(hosts))

    def _yield(self, host: Host) -> None:
        self._note("lease handed over")
        assert host.lease is not None
        assert host.life is not None
        if host.lease.term is not None and host.life.agent is not None:
            self.server.renew(host.lease.term, -1.0)
            host.lease.lost()
            host.lease.end()

    def _keep_tail(self) -> None:
        with self.engine.connect() as connection:
            raw = cast(sqlite3.Connection, connection.connection.driver_connection)
            self._tails.append((raw.serialize(), self.server.row))

    def _forget(self) -> None:
        """A copy that lags takes over: rows and the lease as they were some seconds ago."""
        if not self._tails:
            return
        self._note("database forgot its tail")
        rows, self.server.row = self._tails[0]
        self._tails.clear()
        with self.engine.connect() as connection:
            raw = cast(Any, connection.connection.driver_connection)
            raw.deserialize(rows)
        self.stage.watch.journal_lost()

    def _note(self, what: str) -> None:
        self.stage.note(what)
        cast(PairStorm, self.stage).faults[what] += 1


@dataclass
class PairStorm(Storm):
    """A storm that two hosts live through."""

    def _lives(self) -> Lives:
        return PairOfLives(self, self.what.plan, self._life)
