"""Ask several sources for the same, until one answers; the others are let go.

Who has behaved best is asked first and the next a head start later, so that one that is slow to its
first byte costs nothing but that: finding providers may honestly take half a minute. A source that
fails is asked again after a growing pause, as often as it is worth it and for as long as another
is still waited for; one that stays silent is asked a second time beside the first.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from enclave.ipfs.car import Lie
from enclave.ipfs.gateway import Source
from enclave.web.guard import Cancelled, Guard
from faults import Fault, TryElsewhere

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
LONGEST_REST_SECONDS: Final = 30.0  # with nobody asked; whoever waits should be told, not wait on
SECOND_ASK_SECONDS: Final = 30.0  # a request that was lost on its way is not waited for alone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """`tries` of a source that fails while nobody else is waited for."""

    tries: int
    head_start_seconds: float


@dataclass(slots=True, eq=False)
class _Asked:
    """One request to one source that is under way."""

    source: Source
    guard: Guard


@dataclass
class Race(Generic[T]):
    """One race. `ask` is run in threads; `let_go` takes the answers that came too late; `failed`
    is told of each fault and says whether the source may be asked again, and after how many
    seconds at least (None: not in this race)."""

    guard: Guard
    rules: Rules
    ask: Callable[[Source, Guard], T]
    failed: Callable[[Source, TryElsewhere], float | None]
    let_go: Callable[[T], None] = lambda answer: None
    _flying: dict[Future[T], _Asked] = field(default_factory=dict, init=False)
    _due: list[tuple[float, int, Source]] = field(default_factory=list, init=False)
    _order: Iterator[int] = field(default_factory=itertools.count, init=False)
    _tries: Counter[str] = field(default_factory=Counter, init=False)
    _out: set[str] = field(default_factory=set, init=False)

    def run(
        self, sources: Sequence[Source], resting: Callable[[Source], float]
    ) -> tuple[Source, T] | None:
        """Who answered first, and what; None: nobody is left to ask. `resting`: for how many
        seconds one wants to be left alone. Raises OutOfTime, Cancelled, and what `ask` raises that
        another source would not mend."""
        pending = deque(source for source in sources if not resting(source))
        for source in sources:
            if resting(source):
                self._again(source, resting(source))
        pool = ThreadPoolExecutor(max(1, 2 * len(sources)), "image-race")
        try:
            while True:
                self._send_due(pool, pending)
                if not self._flying and not self._rest(pending):
                    return None
                if (won := self._look(pending)) is not None:
                    return won
        finally:
            self._end(pool)

    def _send_due(self, pool: ThreadPoolExecutor, pending: deque[Source]) -> None:
        """The next of those that were not asked yet, and all whose pause is over."""
        if pending:
            self._send(pool, pending.popleft())
        while self._due and self._due[0][0] <= self.guard.now():
            source = heapq.heappop(self._due)[2]
            under_way = sum(one.source is source for one in self._flying.values())
            if source.name not in self._out and under_way < 2:
                self._send(pool, source)

    def _send(self, pool: ThreadPoolExecutor, source: Source) -> None:
        asked = _Asked(source, self.guard.fork(patience_seconds=math.inf))
        self._tries[source.name] += 1
        self._flying[pool.submit(self.ask, source, asked.guard)] = asked
        if not any(one.source is source for one in self._flying.values() if one is not asked):
            self._again(source, SECOND_ASK_SECONDS)

    def _again(self, source: Source, seconds: float) -> None:
        heapq.heappush(self._due, (self.guard.now() + seconds, next(self._order), source))

    def _rest(self, pending: deque[Source]) -> bool:
        """Nobody is under way: wait for the next that is worth another try, if there is one."""
        if pending:
            return True
        self._due = sorted(one for one in self._due if self._worth(one[2]))
        if not self._due:
            return False
        seconds = max(0.0, self._due[0][0] - self.guard.now())
        if seconds > min(LONGEST_REST_SECONDS, self.guard.seconds_left):
            return False
        self.guard.sleep(seconds)
        return True

    def _worth(self, source: Source) -> bool:
        return source.name not in self._out and self._tries[source.name] < self.rules.tries

    def _look(self, pending: deque[Source]) -> tuple[Source, T] | None:
        """Wait for what is under way, but not longer than until the next is to be asked."""
        seconds = self.rules.head_start_seconds if pending else None
        if seconds is None and self._due:
            seconds = max(0.0, self._due[0][0] - self.guard.now())
        for future in wait(self._flying, seconds, FIRST_COMPLETED).done:
            asked = self._flying.pop(future)
            try:
                return asked.source, future.result()
            except TryElsewhere as fault:
                self._note(asked.source, fault)
        return None

    def _note(self, source: Source, fault: TryElsewhere) -> None:
        after = self.failed(source, fault)
        if after is None or isinstance(fault, Lie):
            self._out.add(source.name)
            return
        # It has answered: the second ask, which was for one that stays silent, is off.
        self._due = sorted(one for one in self._due if one[2] is not source)
        self._again(source, max(after, _pause(self._tries[source.name])))

    def _end(self, pool: ThreadPoolExecutor) -> None:
        for future, asked in self._flying.items():
            asked.guard.cancel()
            future.add_done_callback(self._late)
        pool.shutdown(wait=False, cancel_futures=True)

    def _late(self, future: Future[T]) -> None:
        """An answer that nobody waits for any more, or, as it should be, none."""
        with suppress(Fault, Cancelled):
            if not future.cancelled():
                self.let_go(future.result())


def _pause(tries: int) -> float:
    """Seconds, growing and jittered, after so many failures."""
    grown = FIRST_PAUSE_SECONDS * 2.0 ** min(tries - 1, 10)
    return min(grown, LONGEST_PAUSE_SECONDS) + random.uniform(0, FIRST_PAUSE_SECONDS)  # noqa: S311 - no secret
