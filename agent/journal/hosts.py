"""Who leads among several hosts with one journal, and who stands by.

One row in PostgreSQL is the lease; whoever holds it acts, the others stand by. Times are the
server's alone. What a host may do is bounded by its own boot clock: from before it asked, for
`seconds` less a margin, so that its gate is shut before anybody else may take the lease. And each
writing transaction begins with the fence, a look at the lease that the taker has to wait for: a
host that was frozen past its lease commits nothing.

Here are the values, the statements and the gate; `agent.journal.lease` keeps the lease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from agent.journal.engines import asking, changing
from agent.journal.schema import leases, members
from faults import Fenced, RetryLater

TWIN_SECONDS = 10.0  # a member writes once a second; one that was renamed is no twin for longer

BootClock = Callable[[], float]
"""Seconds since the machine was switched on, suspended or not (CLOCK_BOOTTIME)."""


class Lease(Protocol):
    """What those who change the world ask."""

    def held(self) -> bool:
        """Whether this host leads just now; no I/O."""
        ...

    def is_taken(self) -> bool:
        """Whether this host took it, be the server away by now; a host that stands by did not."""
        ...

    def fence(self, connection: sa.Connection) -> None:
        """First in each writing transaction. Raises Fenced: another host leads, or may."""
        ...


class Alone:
    """One host with a file of its own: it always leads."""

    def held(self) -> bool:
        return True

    def is_taken(self) -> bool:
        return True

    def fence(self, connection: sa.Connection) -> None:
        """Nobody else writes decisions there."""


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """Seconds. Without a leader for at most `seconds` + `poll_seconds` when one dies."""

    seconds: float = 4.0
    renew_seconds: float = 1.0
    poll_seconds: float = 0.5  # how often those who stand by ask
    margin_seconds: float = 0.5  # the gate is shut for so long before anybody else may take


class Gate:
    """Until when this host may act, by its boot clock."""

    def __init__(self, rules: LeaseRules) -> None:
        self._open_for = rules.seconds - rules.margin_seconds
        self._until = -math.inf

    def granted(self, asked_at: float) -> None:
        """The server said yes to what was asked at `asked_at`."""
        self._until = asked_at + self._open_for

    def shut(self) -> None:
        self._until = -math.inf

    def is_open(self, now: float) -> bool:
        return now < self._until


class Role(StrEnum):
    """What a member said that it does."""

    LEADS = "leads"
    STANDS_BY = "stands by"
    ENDS = "ends"  # its process is gone in a moment: it is nobody's standby


@dataclass(frozen=True, slots=True)
class Member:
    """A host that takes part: what it is, and a digest of what it is configured to do."""

    host: str
    version: str
    config_digest: str


@dataclass(frozen=True, slots=True)
class Process:
    """One life of a member: `token` is nobody else's. Before the first write of a life what stands
    there may be of the life before; after it, another process's is a twin's."""

    token: str
    wrote: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """One host's time as leader: `token` is nobody else's, `number` counts them."""

    token: str
    number: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A member as others see it. `seconds_ago`: since it was heard, by the server's clock. `twin`:
    two hosts have this name, and what is told is now of one, now of the other."""

    member: Member
    role: Role
    seconds_ago: float
    twin: bool = False


@dataclass(frozen=True, slots=True)
class Leading:
    """The lease as it stands. `term` counts those who took it; 0: nobody has yet."""

    holder: str
    term: int
    since_seconds: float
    left_seconds: float

    @property
    def runs(self) -> bool:
        return self.left_seconds > 0


_NOW = sa.func.clock_timestamp()


def _after(seconds: float) -> Any:
    return _NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def make_row(connection: sa.Connection, name: str) -> None:
    """The lease exists, taken by nobody, unless it does already."""
    row = {"name": name, "holder": "", "token": None, "term": 0}
    insert = postgresql.insert(leases).values(**row, until=_NOW, since=_NOW)
    connection.execute(insert.on_conflict_do_nothing())


def claim(engine: sa.Engine, name: str) -> None:
    """Have the journal's file be this provider's, whose lease would have that name; nobody takes
    it. A disk that refuses says so at what is written next."""
    with suppress(RetryLater), changing(engine, "the journal can't be claimed") as connection:
        if connection.scalar(sa.select(leases.c.name)) is None:
            row = {"name": name, "holder": "", "term": 0}
            now = sa.func.current_timestamp()
            connection.execute(sa.insert(leases).values(**row, since=now, until=now))


def take(connection: sa.Connection, name: str, host: str, seconds: float) -> Term | None:
    """A term of so many seconds when nobody held it; None: somebody does."""
    free = sa.and_(leases.c.name == name, leases.c.until < _NOW)
    taken = (
        sa.update(leases)
        .where(free)
        .values(
            holder=host, token=sa.func.gen_random_uuid().cast(sa.Text), term=leases.c.term + 1,
            since=_NOW, until=_after(seconds),
        )
        .returning(leases.c.token, leases.c.term)
    )  # fmt: skip
    row = connection.execute(taken).one_or_none()
    return None if row is None else Term(str(row.token), int(row.term))


def renew(connection: sa.Connection, name: str, token: str, seconds: float) -> bool:
    """Hold it on; after a pause too, if nobody led in between. `seconds` 0 gives it back."""
    mine = sa.and_(leases.c.name == name, leases.c.token == token)
    write = sa.update(leases).where(mine).values(until=_after(seconds)).returning(leases.c.term)
    return connection.execute(write).one_or_none() is not None


def fence(connection: sa.Connection, name: str, token: str | None) -> None:
    """Raises Fenced unless `token` holds the lease; whoever takes it waits for this transaction."""
    mine = sa.and_(leases.c.name == name, leases.c.token == (token or ""))
    look = sa.select(leases.c.term).where(mine).with_for_update(read=True)
    if connection.execute(look).one_or_none() is None:
        raise Fenced("another host leads by now; this one ends, and stands by when it is started")


def note_member(connection: sa.Connection, member: Member, role: Role, process: Process) -> bool:
    """This host was here just now. True: so was another of this name, since this process wrote."""
    row: Mapping[str, Any] = {
        "host": member.host, "version": member.version, "config_digest": member.config_digest,
        "role": role.value, "seen": _NOW, "process": process.token, "twin_seen": None,
    }  # fmt: skip
    write = postgresql.insert(members).values(row)
    # Unknown of older versions, which are not told. What was written long ago came back with a
    # database that was restored, or forgot its last moments.
    another = sa.and_(members.c.process != process.token, _lately(members.c.seen))
    twin = sa.case((another, _NOW), else_=members.c.twin_seen) if process.wrote else None
    upsert = write.on_conflict_do_update(index_elements=["host"], set_={**row, "twin_seen": twin})
    return bool(connection.scalar(upsert.returning(_lately(members.c.twin_seen))))


def _lately(at: Any) -> Any:
    """Within TWIN_SECONDS, and not in a future that the server's clock was set back from."""
    return sa.and_(at > _after(-TWIN_SECONDS), at <= _NOW)


def _role(said: str) -> Role:
    """What another version says beside these is a host that is there, and does not lead."""
    return Role(said) if said in set(Role) else Role.STANDS_BY


class Hosts:
    """The hosts of one journal, for people. Raises RetryLater while the server is away."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def standings(self) -> list[Standing]:
        """All that were ever heard, the last heard first."""
        ago = sa.func.extract("epoch", _NOW - members.c.seen).label("ago")
        twin = _lately(members.c.twin_seen).label("twin")
        query = sa.select(members, ago, twin).order_by("ago")
        with asking(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Standing(
                Member(row["host"], row["version"], row["config_digest"]),
                _role(row["role"]),
                float(row["ago"]),
                bool(row["twin"]),
            )
            for row in rows
        ]

    def names(self) -> list[str]:
        """Of all leases: of whom the journal is."""
        with asking(self._engine) as connection:
            return list(connection.scalars(sa.select(leases.c.name).order_by(leases.c.name)))

    def leading(self, name: str) -> Leading | None:
        """The lease; None: no host has been started yet."""
        age = sa.func.extract("epoch", _NOW - leases.c.since).label("age")
        left = sa.func.extract("epoch", leases.c.until - _NOW).label("left")
        query = sa.select(leases.c.holder, leases.c.term, age, left).where(leases.c.name == name)
        with asking(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Leading(row.holder, row.term, float(row.age), float(row.left))
