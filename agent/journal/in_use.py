"""Whether an agent uses a journal's folder: a lock that a process holds for as long as it lives.

One has it at a time: two agents would take each other's nonces and buy what the other bought, and a
command that copies the journal must find nobody. Other commands go beside an agent without it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from faults import Refused, RetryLater

log = structlog.get_logger()


@contextmanager
def used(folder: Path) -> Iterator[None]:
    """As an agent does. Raises RetryLater while somebody else does."""
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetryLater(
                f"another agent, or `journal copy`, has the journal in {folder} to itself; of two "
                "agents with one key one has to be ended"
            ) from None
        except OSError as error:  # a file system without such locks: nothing else depends on it
            log.warning("journal.no_lock", folder=str(folder), error=error.strerror)
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody uses it meanwhile. Raises Refused: an agent runs."""
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"an agent runs with the journal in {folder}"
            raise Refused(f"{text}: end it first (systemctl stop oyster-provider)") from None
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
