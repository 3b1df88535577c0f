"""A lane: one thread that does one thing at a time, so that a slow one holds nothing else up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """At most one job runs; `take` hands out its result once. `wake` is set when one ends."""

    def __init__(self, name: str, wake: threading.Event) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._wake = wake
        self._job: Future[T] | None = None

    @property
    def idle(self) -> bool:
        return self._job is None

    def start(self, job: Callable[[], T]) -> None:
        """Only when idle."""
        self._job = self._pool.submit(job)
        self._job.add_done_callback(lambda _: self._wake.set())

    def take(self) -> Future[T] | None:
        """The job that ended since the last call; its result() raises what it raised."""
        if self._job is None or not self._job.done():
            return None
        done, self._job = self._job, None
        return done

    def close(self) -> None:
        """Do not wait for a job: what it does is begun again by the next program."""
        self._pool.shutdown(wait=False)
