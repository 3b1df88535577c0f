"""How many requests a node is asked at once, and how many a second: as many as one likes, until it
refuses for their number.

Then what it took in the last second is the rate, and a little less of it is kept under; it grows
again while nothing is refused, so that a moment's limit is forgotten. Time is passed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 1.0  # over which what was taken is counted
KEEP_UNDER = 0.9
LEAST_RATE = 0.2  # requests a second: slower than any service that wants to be used
FIRST_RATE = 2.0  # requests a second, where nothing was taken that could be counted
GROW_SECONDS = 10.0  # without a refusal, then a quarter more
GROWTH = 1.25
RECOVERY = 2.0  # the same after a time in which it took nothing at all
MOST_REST_SECONDS = 5.0  # after a refusal that names no time
FREE_RATE = 500.0  # requests a second: so much is no limit to us


BATCH_LIMIT = 100  # requests in one exchange: what public nodes commonly take
GROW_AFTER = 20  # full exchanges: a moment's limit is forgotten, one that stays costs 5 %
GROW_AFTER_MOST = 1280  # one that is met again and again costs less and less


@dataclass
class BatchSize:
    """The most requests in one exchange with a node. Shrinks when it refuses that many, and grows
    back when it has taken that for a while."""

    limit: int = BATCH_LIMIT
    _full: int = 0
    _grow_after: int = GROW_AFTER
    _grew: bool = False

    def shrink(self, requests: int) -> None:
        """It takes no more than so many, as it seems."""
        if self._grew:
            self._grow_after = min(GROW_AFTER_MOST, 2 * self._grow_after)
        self.limit, self._full, self._grew = max(1, min(self.limit, requests)), 0, False

    def took(self, requests: int) -> None:
        """So many were answered, all of them."""
        self._full += requests == self.limit
        if self._full >= self._grow_after and self.limit < BATCH_LIMIT:
            self.limit, self._full, self._grew = min(BATCH_LIMIT, 2 * self.limit), 0, True


@dataclass
class Pace:
    """Of one node. `rate` None: no limit is known."""

    rate: float | None = None
    until: float = 0.0  # the node wants to be left alone until then
    _next: float = 0.0  # when the next request may go out
    _changed: float = 0.0
    _growth: float = GROWTH
    _refusals: int = 0  # since something was taken
    _taken: deque[tuple[float, int]] = field(default_factory=deque)

    def most(self, limit: int) -> int:
        """How many to put in one exchange: no more than a second's worth."""
        return limit if self.rate is None else max(1, min(limit, int(self.rate)))

    def wait(self, now: float) -> float:
        """Seconds until requests may go out. A clock that was set back is not waited for."""
        if not 0 <= self._changed <= now + WINDOW_SECONDS:
            self._next = self.until = self._changed = 0.0
        return max(0.0, self.until - now, self._next - now if self.rate is not None else 0.0)

    def sends(self, requests: int, now: float) -> None:
        """So many go out after `wait`; whoever asks next waits for them."""
        self._grow(now)
        if self.rate is not None:
            self._next = max(self._next, now) + requests / self.rate

    def took(self, requests: int, now: float) -> None:
        """So many were answered."""
        self._refusals = 0 if requests else self._refusals
        self._taken.append((now, requests))
        while self._taken and not now - WINDOW_SECONDS <= self._taken[0][0] <= now:
            self._taken.popleft()

    def refused(self, now: float, asked_seconds: float | None) -> None:
        """The node says that it is too many now, and for how long if it says that."""
        self.took(0, now)
        recent = sum(requests for _, requests in self._taken) / WINDOW_SECONDS
        if recent:  # so much it does take
            last = self.rate if self.rate is not None else recent
            self.rate = max(LEAST_RATE, KEEP_UNDER * min(last, max(recent, last / 2)))
            self._growth = GROWTH
        else:  # it takes nothing: that will pass at once or not, and says nothing of its rate
            self.rate = FIRST_RATE if self.rate is None else min(self.rate, FIRST_RATE)
            self._growth = RECOVERY
        self._changed = now
        self._refusals += 1
        rest = max(asked_seconds or 0.0, min(MOST_REST_SECONDS, 0.25 * 2.0**self._refusals))
        self.until = max(self.until, now + rest)
        self._next = max(self._next, self.until)

    def _grow(self, now: float) -> None:
        if self.rate is None or now - self._changed < GROW_SECONDS:
            return
        self._changed = now
        self.rate = None if self.rate * self._growth > FREE_RATE else self.rate * self._growth
