"""The time by which AWS's documents are judged, where this machine's clock is wrong.

An enclave's document says when AWS's hardware made it, and nobody here chose a nonce for it: its
age is all that tells it from an old one. A clock that is minutes off would have every document
refused, and the job's stake with it; AWS's own word for the time comes with each of its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.ports import Clock
from cloud.clock_of_aws import FAR_SECONDS


@dataclass(frozen=True, slots=True)
class ClockByAws:
    """`clock`, set right where it is far off. `ahead`: seconds by which AWS's is ahead of it, None
    while nobody knows."""

    clock: Clock
    ahead: Callable[[], float | None]

    def now(self) -> float:
        ahead = self.ahead() or 0.0
        return self.clock.now() + (ahead if abs(ahead) > FAR_SECONDS else 0.0)

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
