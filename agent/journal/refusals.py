"""What a database's driver raises, as what to do about it: one table for SQLite and PostgreSQL.

The classes are those of PEP 249 as SQLAlchemy wraps them; a server's SQLSTATE says more than the
class and comes first (PostgreSQL 17 documentation, appendix A "PostgreSQL Error Codes").
"""

from __future__ import annotations

import sqlite3
from enum import Enum

from sqlalchemy import exc

from faults import Fault, MustStop, RetryLater


class Refusal(Enum):
    """Of whom the driver speaks."""

    AWAY = "away"  # the disk, the server, the way to it, or somebody who holds it: later
    BROKEN = "broken"  # the file is damaged, or none of ours: a person has to look
    ROW = "row"  # this statement, today and tomorrow: the others may be stored


class BehindSchema(RetryLater):
    """A table or column that this program knows is not there: the server forgot a migration."""


# By the first letters of a SQLSTATE, the longest that fits; what is not named is AWAY, since a
# server's own trouble ends by a restart or a failover of the server.
_OF_STATES = {
    "21": Refusal.ROW,  # cardinality
    "22": Refusal.ROW,  # data exception: too large, not of the encoding, no JSON
    "23": Refusal.ROW,  # an integrity constraint
    "42": Refusal.ROW,  # a statement that is wrong, but for:
    "42501": Refusal.AWAY,  # insufficient privilege: somebody revoked it, and can grant it
    "42P01": Refusal.AWAY,  # undefined table: restored to an older state, or another search_path
    "42703": Refusal.AWAY,  # undefined column: the same (`BehindSchema`)
    "42P10": Refusal.AWAY,  # no unique index for ON CONFLICT: somebody dropped it, or it is invalid
    "54": Refusal.ROW,  # a limit of the program: a row or an index entry that is too large
    "54001": Refusal.AWAY,  # but too deep a stack is the server's
}

# By class, where there is no SQLSTATE: SQLite, and a server that could not say one.
_OF_CLASSES: dict[type[Exception], Refusal] = {
    exc.OperationalError: Refusal.AWAY,  # busy, full, unreadable; no connection
    exc.InterfaceError: Refusal.AWAY,  # the connection was closed under us
    exc.InternalError: Refusal.AWAY,  # a transaction that is aborted, a server that only reads
    exc.TimeoutError: Refusal.AWAY,  # all connections of the pool wait for a server that hangs
    exc.DatabaseError: Refusal.BROKEN,  # SQLite's SQLITE_CORRUPT and SQLITE_NOTADB have no class
}


def of_whom(error: Exception) -> Refusal:
    """Whom `error`, raised by a statement, is about. What is no driver's is of the row: a value
    that no column takes."""
    state = _state(error)
    if state:
        fitting = [prefix for prefix in _OF_STATES if state.startswith(prefix)]
        return _OF_STATES[max(fitting, key=len)] if fitting else Refusal.AWAY
    return _OF_CLASSES.get(type(error), Refusal.ROW)


def _state(error: Exception) -> str | None:
    """The server's SQLSTATE, if it said one."""
    state: str | None = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state


def as_fault(error: exc.SQLAlchemyError, what: str) -> Fault | None:
    """`error` as a fault that begins with `what`; None: the statement itself is wrong."""
    match of_whom(error):
        case Refusal.AWAY:
            kind = BehindSchema if _state(error) in _BEHIND else RetryLater
            return kind(f"{what} just now: {first_line(error)}")
        case Refusal.BROKEN:
            return MustStop(f"{what}: {first_line(error)}; move the journal away")
        case Refusal.ROW:
            return None


def at_the_door(where: str, error: exc.SQLAlchemyError) -> Fault:
    """What it comes to that no connection was made to the server `where`, or that its schema was
    not brought up to date: by SQLSTATE, then by libpq's and pgbouncer's own words."""
    said = first_line(error)
    if _state(error) in _HELD:
        why = "another host brings it up to date, or a long read (pg_dump) stands before that"
        return RetryLater(f"{where} is held: {said}; {why}")
    for sign, (kind, then) in _AT_THE_DOOR.items():
        if sign in said:
            return kind(f"{where} {then.format(said)}")
    return RetryLater(f"{where} does not answer: {said}")


_BEHIND = ("42P01", "42703")
_HELD = ("55P03", "40P01")  # lock_not_available, deadlock_detected
_STRANGE = (RetryLater, "can't be trusted: {}")  # tomorrow's certificate may be another
_AT_THE_DOOR: dict[str, tuple[type[RetryLater | MustStop], str]] = {
    "statement pooling mode": (
        MustStop, "is behind a pooler: {}; have it pool transactions, or sessions",
    ),
    "root certificate file": (
        MustStop, "can't be told from another: {}; add sslrootcert=FILE to its URL",
    ),
    "invalid sslmode value": (MustStop, "can't be asked: {}; mend its URL"),
    "server login has been failing": (
        RetryLater, "is behind a pooler that waits before it tries its server again: {}",
    ),
    "certificate verify failed": _STRANGE,
    "does not match host name": _STRANGE,
    "does not support SSL": _STRANGE,
    "FATAL: ": (RetryLater, "takes no connection of ours: {}"),
}  # fmt: skip


def first_line(error: Exception) -> str:
    """The driver's first line: it may name host and user, never a password or a row."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def holds_file(error: BaseException) -> bool:
    """Whether SQLite's own `error` says that another process holds the file."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def of_the_disk(error: exc.DatabaseError) -> str:
    """What to do where the disk or its rights refuse SQLite's file, and not what is in it; ""
    where that is no reason."""
    return _OF_DISKS.get(_primary(error.orig), "")


def _primary(error: BaseException | None) -> int:
    """SQLite's code without the bits that say where in SQLite: one that waits for another's
    recovery of the WAL is busy, too (SQLITE_BUSY_RECOVERY)."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


_OWN = "whoever runs this has to own it and its folder, on a disk that can be written"
_OF_DISKS = {
    sqlite3.SQLITE_FULL: "free some of its disk",
    sqlite3.SQLITE_IOERR: "look at its disk",
    sqlite3.SQLITE_READONLY: _OWN,
    sqlite3.SQLITE_CANTOPEN: _OWN,
    sqlite3.SQLITE_PERM: _OWN,
}


def is_taken(error: exc.IntegrityError) -> bool:
    """Whether a unique index refused it: by SQLite's name, or PostgreSQL's unique_violation."""
    broken = error.orig
    name, state = getattr(broken, "sqlite_errorname", ""), getattr(broken, "sqlstate", "")
    return name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY") or state == "23505"
