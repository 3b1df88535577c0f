"""The wall clock, for programs; tests and the simulator bring their own."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
