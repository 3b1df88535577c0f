"""Faults of a node, for those who have no other node to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from faults import RetryLater, TryElsewhere


@contextmanager
def later() -> Iterator[None]:
    """What one endpoint could not tell leaves as RetryLater: there is no other to be tried."""
    try:
        yield
    except TryElsewhere as fault:
        raise RetryLater(str(fault)) from fault
