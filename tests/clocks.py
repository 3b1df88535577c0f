"""Clocks for tests; what serves real clients on real time takes `agent.clock.SystemClock`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class StandingClock:
    """Always the same second; whoever sleeps on it fails the test."""

    at: float

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody should wait here, and somebody wants {seconds} s")


@dataclass
class MovingClock:
    """Moves when it is slept on, or told to."""

    at: float
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)
