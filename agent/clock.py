"""The wall clock, for programs; tests and the simulator bring their own."""

from __future__ import annotations

import asyncio
import time

JUMP_SECONDS = 1.0  # a clock that is set back by more has jumped; less is disciplined by NTP


def passed(now: float, since: float, seconds: float) -> bool:
    """Whether `seconds` have passed since then. What is later than now was written down by a
    clock that has been set back since: nobody waits for it to be caught up with."""
    return not -JUMP_SECONDS <= now - since < seconds


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
