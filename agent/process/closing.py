"""An end that does not wait for ever: closing gives up after a while, and the process with it.

A thread that asks a server which hangs (its disk stands still, a proxy forwards nothing) can't be
cancelled, and an interpreter waits for its threads. Nothing is lost by leaving it behind: what it
waits for is fenced, and whoever starts reads what came of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

CLOSE_SECONDS = 10.0  # after the loop's own end; a service manager kills after 30


@contextmanager
def closing_in_time(code: int, seconds: float = CLOSE_SECONDS) -> Iterator[None]:
    """The process ends with `code` when what is within is not done in so many seconds."""
    timer = threading.Timer(seconds, _leave, [code, seconds])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave(code: int, seconds: float) -> None:
    log.warning("service.left_behind", text=f"something hangs: ended after {seconds:.0f} s")
    os._exit(code)
