"""Who may be connected to a status address: a bounded number, and nobody for long without asking.

Each descriptor that is taken here is one that the agent lacks for nodes and AWS. So connections are
counted as they come; who asks for nothing (or a byte at a time) is closed after `HEAD_SECONDS`, and
where there is no room the connection that lay still for longest, of the address that has most,
makes way. Loopback has room of its own, in which somebody always makes way: /healthz is asked
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from agent.status.descriptors import MOST, MOST_FROM_LOOPBACK

HEAD_SECONDS = 10.0  # from the connection, or the last answer, to a whole request
ANSWER_SECONDS = 30.0  # to have read the answer, after that
LOG_SECONDS = 60.0
_KINDS_KEPT = 100


class Visitor(Protocol):
    """A connection as its door sees it; `since` is when it last did something (loop's clock)."""

    host: str
    since: float

    @property
    def idle(self) -> bool: ...

    def shut(self) -> None: ...


@dataclass(slots=True)
class Doors:
    """The open connections of one address."""

    most: int = MOST
    most_from_loopback: int = MOST_FROM_LOOPBACK
    _inside: dict[Visitor, None] = field(default_factory=dict)

    def enter(self, visitor: Visitor) -> bool:
        """Let it in, in the place of another where there is no room; whether there was any."""
        loopback = _is_loopback(visitor.host)
        inside = [one for one in self._inside if _is_loopback(one.host) == loopback]
        if len(inside) >= (self.most_from_loopback if loopback else self.most):
            going = _least_missed(inside, anybody=loopback)
            if going is None:
                return False
            self.leave(going)
            going.shut()
        self._inside[visitor] = None
        return True

    def leave(self, visitor: Visitor) -> None:
        self._inside.pop(visitor, None)

    def __len__(self) -> int:
        return len(self._inside)


def _least_missed(inside: list[Visitor], *, anybody: bool) -> Visitor | None:
    """Who lay still for longest, of the address that has most idle ones; else, with `anybody`, who
    has been asking for longest."""
    idle = [one for one in inside if one.idle]
    if not idle:
        return min(inside, key=lambda one: one.since) if anybody and inside else None
    counts = Counter(one.host for one in idle)
    return min(idle, key=lambda one: (-counts[one.host], one.since))


def _is_loopback(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)


def guarded(doors: Doors) -> type[H11Protocol]:
    """uvicorn's own protocol, behind these doors."""

    class Guarded(_Guarded):
        pass

    Guarded.doors = doors
    return Guarded


class _Guarded(H11Protocol):
    """One connection."""

    doors: Doors
    host = ""
    since = 0.0
    _watch: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Nothing of it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def shut(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # a transport of a socket
        self.host = self.client[0] if self.client else ""
        self.since = self.loop.time()
        if self.doors.enter(self):
            self._look()
        else:
            self.shut()

    def connection_lost(self, exc: Exception | None) -> None:
        self.doors.leave(self)
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        """Close it when its time is over; else look again then."""
        allowed = HEAD_SECONDS if self.idle else HEAD_SECONDS + ANSWER_SECONDS
        left = self.since + allowed - self.loop.time()
        if left <= 0:
            self.shut()
        else:
            self._watch = self.loop.call_later(min(left, HEAD_SECONDS), self._look)


class OncePer(logging.Filter):
    """Lets a record of each kind through once in `LOG_SECONDS`, and counts the others; `kind` says
    what kind a record is of, or nothing where all of them are wanted."""

    def __init__(self, kind: Callable[[logging.LogRecord], str | None]) -> None:
        super().__init__()
        self._kind = kind
        self._last: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = self._kind(record)
        if kind is None:
            return True
        at, kept_back = self._last.get(kind, (float("-inf"), 0))
        if record.created - at < LOG_SECONDS:
            self._last[kind] = (at, kept_back + 1)
            return False
        if len(self._last) >= _KINDS_KEPT:
            self._last.clear()
        self._last[kind] = (record.created, 0)
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} times more)", ()
        return True


def _any(record: logging.LogRecord) -> str | None:
    """What uvicorn says is said by strangers."""
    return str(record.msg)


def _no_descriptor(record: logging.LogRecord) -> str | None:
    """asyncio says this for each connection it can't take, with a trace; the rest it says stays."""
    return "accept" if str(record.msg).startswith("socket.accept() out of") else None


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within: one line a minute of each kind that connections can bring about."""
    filters: dict[str, Any] = {"uvicorn.error": OncePer(_any), "asyncio": OncePer(_no_descriptor)}
    for name, one in filters.items():
        logging.getLogger(name).addFilter(one)
    try:
        yield
    finally:
        for name, one in filters.items():
            logging.getLogger(name).removeFilter(one)
