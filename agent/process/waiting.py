"""Waiting for the world is not failing: the process stays, says for what it waits, and tries again.

A node, DNS or AWS that is away while the agent starts would otherwise end it, again and again. An
account that is not set up, or credentials that are refused, somebody is about to mend. What only
a changed configuration could mend, and what would do harm, still ends the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

import structlog

from agent.ports import Clock
from agent.sd_notify import Notifier
from faults import Fault, Refused, RetryLater, TryElsewhere

log = structlog.get_logger()

T = TypeVar("T")

FIRST_SECONDS = 2.0
MOST_SECONDS = 30.0  # of a bootstrap window of minutes; a node that is back is used within it
ATTEMPT_SECONDS = 150.0  # what systemd grants one attempt; a hang in it is still ended


def pauses() -> Iterator[float]:
    """Seconds between attempts: twice as long each time, up to the most."""
    seconds = FIRST_SECONDS
    while True:
        yield seconds
        seconds = min(MOST_SECONDS, 2 * seconds)


async def _nobody(text: str) -> None:
    """Nobody asks."""


async def opened(
    opening: Callable[[], AbstractAsyncContextManager[T]],
    stack: AsyncExitStack,
    notifier: Notifier,
    clock: Clock,
    tell: Callable[[str], Awaitable[None]] = _nobody,
) -> T:
    """What `opening` gives, entered on the stack, however long the world takes; `tell` is told
    for what it waits.

    Raises what waiting can't mend: UsageFault, MustStop, bugs.
    """
    said = ""
    for pause in pauses():
        notifier.starting(ATTEMPT_SECONDS + MOST_SECONDS, said)
        try:
            return await stack.enter_async_context(opening())
        except (RetryLater, TryElsewhere, Refused) as away:
            said = _words(away)
        log.warning("service.waiting", error=said, seconds=pause)
        notifier.starting(ATTEMPT_SECONDS + MOST_SECONDS, said)
        await tell(said)
        await clock.sleep(pause)
    raise AssertionError("pauses do not end")


def _words(away: Fault) -> str:
    return f"waiting to start: {away}"
