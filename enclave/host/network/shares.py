"""Who may have how many connections: none is starved by a neighbour, none is served unbounded.

Pure bookkeeping, no sockets. Every lane (a port that is forwarded) has an equal part of half of
all places for itself, and all share the other half. In a lane that has no place left a newcomer
takes the one that lay still for longest of the address that has most, if that has more than the
newcomer's; so one address can't keep another out, and many can't keep out one more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)

# An address that has most itself, as a proxy may, takes its own place only when it lay still.
STILL_SECONDS = 10.0


class Lane(Generic[C]):
    """The connections of one lane by address; the one that lay still for longest is first."""

    def __init__(self) -> None:
        self.open = 0
        self._of: dict[str, OrderedDict[C, float]] = {}
        # How many to the addresses that have so many; the one that lay still for longest first.
        self._having: dict[int, OrderedDict[str, None]] = {}
        self._most = 0

    def join(self, connection: C, address: str, now: float) -> None:
        """One more."""
        held = self._of.setdefault(address, OrderedDict())
        self._move(address, len(held), len(held) + 1)
        held[connection] = now
        self.open += 1

    def leave(self, connection: C, address: str) -> None:
        """One less; it must have joined."""
        held = self._of[address]
        del held[connection]
        self._move(address, len(held) + 1, len(held))
        if not held:
            del self._of[address]
        self.open -= 1

    def moved(self, connection: C, address: str, now: float) -> None:
        """Bytes went through it."""
        held = self._of[address]
        held[connection] = now
        held.move_to_end(connection)
        self._having[len(held)].move_to_end(address)

    def victim(self, address: str, now: float) -> C | None:
        """Whose place a newcomer from `address` may take; None: nobody's."""
        most = self.most()
        if most == 0:
            return None
        mine = len(self._of.get(address, ()))
        loser = address if mine >= most else next(iter(self._having[most]))
        connection, last = next(iter(self._of[loser].items()))
        if loser == address and now - last < STILL_SECONDS:
            return None
        return connection

    def still(self, before: float) -> list[tuple[C, float]]:
        """Those through which nothing went since then, each with when something did last."""
        return [one for held in self._of.values() for one in _until(held, before)]

    def most(self) -> int:
        """How many the address has that has most."""
        while self._most and self._most not in self._having:
            self._most -= 1
        return self._most

    def _move(self, address: str, before: int, after: int) -> None:
        if after:
            self._having.setdefault(after, OrderedDict())[address] = None
            self._most = max(self._most, after)
        if before:
            del self._having[before][address]
            if not self._having[before]:
                del self._having[before]


def _until(held: OrderedDict[C, float], before: float) -> Iterable[tuple[C, float]]:
    """The first entries, which are the oldest, of before that time."""
    for connection, last in held.items():
        if last >= before:
            return
        yield connection, last


class Shares(Generic[C]):
    """`places` for all lanes together."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._lanes: dict[str, Lane[C]] = {}

    def lane(self, name: str) -> Lane[C]:
        return self._lanes.setdefault(name, Lane())

    def close(self, name: str) -> None:
        """The lane is gone, with all that is in it."""
        self._lanes.pop(name, None)

    @property
    def open(self) -> int:
        return sum(lane.open for lane in self._lanes.values())

    @property
    def own(self) -> int:
        """Places that each lane has for itself."""
        return max(self.places // (2 * max(len(self._lanes), 1)), 1)

    def room(self, name: str) -> bool:
        """Whether a newcomer in this lane needs nobody's place."""
        own, taken = self.own, self.open
        if taken >= self.places:
            return False
        kept = sum(max(own - lane.open, 0) for lane in self._lanes.values())
        return self.lane(name).open < own or taken + kept < self.places

    def victim(self, name: str, address: str, now: float) -> tuple[str, C] | None:
        """Lane and connection whose place the newcomer takes, when there is no room; or None.

        A lane below its own part takes from the one that is furthest above (lanes that came
        later make the parts smaller).
        """
        if self.lane(name).open >= self.own:
            found = self.lane(name).victim(address, now)
            return None if found is None else (name, found)
        widest = max(self._lanes, key=lambda one: self._lanes[one].open)
        found = self._lanes[widest].victim("", now)
        return None if found is None else (widest, found)
