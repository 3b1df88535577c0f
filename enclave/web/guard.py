"""When to give up: one guard for each thing that is waited for, under the deadline of the whole."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Final, TypeVar

from faults import RetryLater, TryElsewhere

# Slower, no image of a usual size arrives before a usual deadline: another source is better.
LEAST_BYTES_PER_SECOND: Final = 64 << 10
LOOK_UP_SECONDS: Final = 0.5  # how often a wait looks whether it was cancelled

T = TypeVar("T")


class Stalled(TryElsewhere):
    """The source sent nothing of use for too long."""


class OutOfTime(RetryLater):
    """The deadline of the whole fetch is over."""


class Cancelled(RetryLater):
    """Whoever asked does not want it any more."""


class Guard:
    """When to give up: `deadline` for the whole, `stall_seconds` since the last progress.

    Progress in crumbs is none: in each span of `stall_seconds` LEAST_BYTES_PER_SECOND must come.
    That is for bytes that stop. What finds providers before it answers may be silent for longer:
    from `expect` to the first byte a guard with `patience_seconds` waits for so long, deadline
    permitting. `clock` is monotonic, in seconds. Safe to ask, to tell and to cancel from other
    threads.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        deadline: float,
        stall_seconds: float,
        parent: Guard | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._stall_seconds = stall_seconds
        self._parent = parent
        self._patience_seconds = patience_seconds
        self._patient_until: float | None = None  # nothing of an answer has come yet
        self._last = self._span_begun = clock()
        self._span_bytes = 0
        self.moved = 0  # verified bytes, of its forks too; a little less when they race
        self._stop = threading.Event()

    def fork(self, patience_seconds: float = 0.0) -> Guard:
        """A guard with a stall clock and a cancel of its own, under the same deadline."""
        return Guard(self._clock, self._deadline, self._stall_seconds, self, patience_seconds)

    def expect(self) -> None:
        """An answer is waited for, of which nothing has come yet."""
        if self._patience_seconds > self._stall_seconds:
            self._patient_until = self._clock() + self._patience_seconds

    def heard(self) -> None:
        """Bytes came: from now on they must not stop."""
        if self._patient_until is not None:
            self._patient_until = None
            self._last = self._span_begun = self._clock()
            self._span_bytes = 0

    def hurry(self) -> None:
        """No more patience: others would do what this is waited for."""
        self.heard()
        self._patience_seconds = 0.0

    def progress(self, verified_bytes: int) -> None:
        self.heard()
        self._last = self._clock()
        self._span_bytes += verified_bytes
        self.tally(verified_bytes)

    def tally(self, verified_bytes: int) -> None:
        """Count them in `moved`, here and in what this was forked from."""
        self.moved += verified_bytes
        if self._parent is not None:
            self._parent.tally(verified_bytes)

    def cancel(self) -> None:
        self._stop.set()

    def now(self) -> float:
        return self._clock()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - self._clock())

    @property
    def cancelled(self) -> bool:
        return self._stop.is_set() or (self._parent is not None and self._parent.cancelled)

    def remaining(self) -> float:
        """Seconds, over 0, that a wait may still last. Raises Cancelled, OutOfTime, Stalled."""
        now = self._clock()
        if self.cancelled:
            raise Cancelled("the fetch was cancelled")
        if now >= self._deadline:
            raise OutOfTime("the time for fetching the image is over; allow more, or try again")
        if (patient_until := self._patient_until) is not None:
            if now >= patient_until:
                raise Stalled(f"no answer for {self._patience_seconds:g} s")
            return min(patient_until, self._deadline) - now
        stalled = self._last + self._stall_seconds - now
        if stalled <= 0:
            raise Stalled(f"no verified bytes for {self._stall_seconds:g} s")
        if now - self._span_begun >= self._stall_seconds:
            self._end_span(now)
        return min(stalled, self._deadline - now)

    def _end_span(self, now: float) -> None:
        rate = self._span_bytes / (now - self._span_begun)
        # With nothing at all it is a stall, which is measured from the last progress instead.
        if 0 < rate < LEAST_BYTES_PER_SECOND:
            raise Stalled(f"{rate:.0f} verified bytes a second, at least {LEAST_BYTES_PER_SECOND}")
        self._span_begun, self._span_bytes = now, 0

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the deadline; a cancel ends it."""
        self._last = self._span_begun = self._clock() + seconds
        self._span_bytes = 0
        left = min(seconds, self.remaining())
        while left > 0 and not self.cancelled:
            self._stop.wait(min(left, LOOK_UP_SECONDS))  # a parent's cancel does not end the wait
            left -= LOOK_UP_SECONDS
        self.remaining()


def in_time(guard: Guard, work: Callable[[], T], seconds: float = math.inf) -> T:
    """What `work` gives, which can't be told to stop: its thread is left behind when time is up.

    Raises what `work` raises, TimeoutError after `seconds`, and as `Guard.remaining` does.
    """
    answer: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread, which raises it
            answer.set_exception(fault)

    threading.Thread(target=run, name="in-time", daemon=True).start()
    waited = 0.0
    while waited < seconds:
        if futures.wait([answer], min(guard.remaining(), LOOK_UP_SECONDS)).done:
            return answer.result()
        waited += LOOK_UP_SECONDS
    raise TimeoutError(f"no answer in {seconds:g} s")
