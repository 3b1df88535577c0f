"""What goes wrong, when, and where: every call of a model asks here first."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports import Clock
from faults import RetryLater


@dataclass(slots=True)
class Fit:
    """From `since` until `until` (unix seconds), or `times` times, calls at `where` fail.

    `after` lets the call take effect first: its reply is lost.
    """

    where: str
    make: Callable[[], Exception]
    since: float = 0.0
    until: float = float("inf")
    times: int = 1_000_000_000
    after: bool = False


@dataclass
class Weather:
    """The faults of one simulation. `latency` is drawn for each call, from `least` to `most`."""

    clock: Clock
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    least: float = 0.0
    most: float = 0.0
    fits: list[Fit] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    async def before(self, where: str) -> None:
        """What a call to `where` suffers before it has any effect."""
        if self.most > 0:
            await self.clock.sleep(self.rng.uniform(self.least, self.most))
        self._strike(where, after=False)

    async def after(self, where: str) -> None:
        """What the reply suffers on its way back."""
        if self.most > 0:
            await self.clock.sleep(self.rng.uniform(self.least, self.most))
        self._strike(where, after=True)

    def _strike(self, where: str, *, after: bool) -> None:
        now = self.clock.now()
        for fit in self.fits:
            matches = fit.where == where and fit.after == after and fit.times > 0
            if matches and fit.since <= now < fit.until:
                fit.times -= 1
                self.counted[where] += 1
                raise fit.make()

    def fail(
        self,
        where: str,
        make: Callable[[], Exception] = lambda: RetryLater("simulated: no answer"),
        *,
        seconds: float = float("inf"),
        times: int = 1_000_000_000,
        after: bool = False,
    ) -> None:
        """From now on, for so long or so often."""
        now = self.clock.now()
        self.fits.append(Fit(where, make, now, now + seconds, times, after))
