"""The time by which the agent goes: AWS's, where this machine's clock is wrong.

A clock that is minutes off has a new job seem too late to be bought, or an enclave's document of
another time than it is, and the job's stake goes with it. The chain's blocks come seconds after
they are made at the best, and are what nodes say; AWS's own word comes with each of its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import SystemClock
from agent.ports import Clock
from cloud.clock_of_aws import FAR_SECONDS

STEADY_SECONDS = 10.0  # by so much slow answers tell otherwise: nothing is set anew for less


def nobody_knows() -> float | None:
    """Of AWS's time, before there is an answer."""
    return None


@dataclass(slots=True)
class ClockByAws:
    """`clock`, set right where it is far off. `ahead`: seconds by which AWS's is ahead of it, None
    while nobody knows."""

    clock: Clock = field(default_factory=SystemClock)
    ahead: Callable[[], float | None] = nobody_knows
    _set_by: float = 0.0

    def now(self) -> float:
        ahead = self.ahead() or 0.0
        if abs(ahead - self._set_by) > STEADY_SECONDS:
            self._set_by = ahead if abs(ahead) > FAR_SECONDS else 0.0
        return self.clock.now() + self._set_by

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
