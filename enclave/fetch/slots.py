"""Who downloads now: a few at once, in turns, so that nobody's slow image keeps another waiting.

Whoever had fewest turns goes first, then the closest deadline. When somebody waits, the slowest of
those whose turn lasted long enough makes way and goes on later from what it has on disk. A turn
that is long enough is twice as long for who waits with one turn more behind it: going on costs
reading back, and costs less and less of the time. A first turn comes within TURN_SECONDS for every
`slots` that wait before it, however slow all others are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from enclave.web.guard import Cancelled, Guard

TURN_SECONDS: Final = 15.0  # an image of usual size is here by then
_LOOK_SECONDS: Final = 0.5  # between looks whether somebody has to make way, while anybody waits


@dataclass(slots=True, eq=False)
class Place:
    """One download: when it is due, its turns, and its `guard` and start in this one (seconds of
    the clock)."""

    deadline: float
    turns: int = 0
    began: float = 0.0
    guard: Guard | None = None
    ready: asyncio.Future[None] | None = None

    @property
    def leaving(self) -> bool:
        """Whether it was told to make way."""
        return self.guard is not None and self.guard.cancelled

    def rate(self, now: float) -> float:
        """Verified bytes a second in this turn."""
        moved = self.guard.moved if self.guard is not None else 0
        return moved / max(now - self.began, 1e-3)


def in_order(waiting: Sequence[Place]) -> list[Place]:
    """Who goes first: fewest turns, then the closest deadline."""
    return sorted(waiting, key=lambda place: (place.turns, place.deadline))


def to_make_way(
    running: Sequence[Place], waiting: Sequence[Place], slots: int, now: float
) -> list[Place]:
    """Those of `running` that have to stop for those who wait."""
    staying = [place for place in running if not place.leaving]
    going: list[Place] = []
    for waiter in in_order(waiting)[slots - len(staying) :]:
        least = TURN_SECONDS * 2**waiter.turns
        long = [place for place in staying if now - place.began >= least]
        if not long:
            break
        slowest = min(long, key=lambda place: place.rate(now))
        staying.remove(slowest)
        going.append(slowest)
    return going


@dataclass(slots=True)
class Turns:
    """`slots` downloads at once; used from one event loop. `clock` as the guards' own."""

    slots: int
    clock: Callable[[], float]
    _running: list[Place] = field(default_factory=list)
    _waiting: list[Place] = field(default_factory=list)
    _looks: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, place: Place, guard: Guard) -> AsyncIterator[Guard]:
        """Wait for a turn, and have it: its guard is cancelled when somebody else's comes. Raises
        Cancelled (by `leave` too), OutOfTime."""
        place.ready = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._look()
        try:
            await place.ready
            place.guard = guard.fork()
            place.guard.remaining()
            yield place.guard
        finally:
            (self._running if place in self._running else self._waiting).remove(place)
            place.guard = None
            self._look()

    def leave(self, place: Place) -> None:
        """Wait no more; a turn that has begun is ended by its guard."""
        if place.ready is not None and not place.ready.done():
            place.ready.set_exception(Cancelled("the fetch was cancelled"))

    def _look(self) -> None:
        """Begin and end the turns that are due; look again while anybody waits."""
        asking = [place for place in self._waiting if place.ready and not place.ready.done()]
        for place in in_order(asking)[: max(0, self.slots - len(self._running))]:
            self._begin(place)
            asking.remove(place)
        for place in to_make_way(self._running, asking, self.slots, self.clock()):
            if place.guard is not None:
                place.guard.cancel()
        if asking and self._looks is None:
            loop = asyncio.get_running_loop()
            self._looks = loop.call_later(_LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looks = None
        self._look()

    def _begin(self, place: Place) -> None:
        self._waiting.remove(place)
        self._running.append(place)
        place.turns, place.began = place.turns + 1, self.clock()
        if place.ready is not None:
            place.ready.set_result(None)
