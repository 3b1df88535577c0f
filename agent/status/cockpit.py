"""What the page shows beyond the present moment, as values: days, starts, rivals, past jobs.

Money is in base units of its token, gas in wei; times are unix seconds, days begin at midnight
(UTC); durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.status.finding import Found, Query


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day of all jobs. `cost` None: what some instance costs is not known."""

    start: int
    earned: int
    cost: int | None
    gas: int = 0
    slashed: int = 0  # stake, base units
    harms: Mapping[str, int] | None = None  # jobs missed, refused and slashed, by word

    @property
    def margin(self) -> int | None:
        return None if self.cost is None else self.earned - self.cost


@dataclass(frozen=True, slots=True)
class StartRow:
    """How long one job took from its assignment to its start."""

    job: int
    seconds: float
    assigned_at: float


@dataclass(frozen=True, slots=True)
class Starts:
    """Bootstrap times of the last days against the window: the error budget.

    `p50` and `p99` None: no job started. `missed` counts jobs that were not up in time.
    `window_seconds` 0: the market has none, and `goal_seconds` is what watchers grant.
    """

    count: int = 0
    missed: int = 0
    p50: float | None = None
    p99: float | None = None
    window_seconds: int = 0
    goal_seconds: int = 0
    worst: tuple[StartRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RankRow:
    """One type against the market. `rank` from 1, None while it is not listed; prices in price
    units, None where there is none."""

    instance_type: str
    rank: int | None
    listed: int
    price: int | None
    cheapest_other: int | None


@dataclass(frozen=True, slots=True)
class Harm:
    """A job that was missed, refused or slashed."""

    at: float
    what: str
    job: int
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is worked out once a minute; `at` 0: not yet.

    `gas_days` is how long the coin lasts at the last week's pace, None where nothing was spent.
    """

    at: float = 0.0
    days: tuple[DayRow, ...] = ()
    starts: Starts = Starts()
    ranks: tuple[RankRow, ...] = ()
    harms: tuple[Harm, ...] = ()
    gas_days: float | None = None


@dataclass(frozen=True, slots=True)
class PastRow:
    """A job that is over. `earned` None: the chain has it as somebody else's now; `start_seconds`
    None: it never was up."""

    id: int
    instance_type: str
    assigned_at: float
    ended_at: float | None
    outcome: str
    harms: tuple[str, ...] = ()
    start_seconds: float | None = None
    earned: int | None = None


class History(Protocol):
    """What lies behind: implemented by `Books`."""

    def figures(self) -> Figures:
        """As of the last minute, from memory."""
        ...

    async def past(self, query: Query) -> Found[PastRow]:
        """Jobs that are over, the newest first. Raises RetryLater: the journal is held."""
        ...

    async def job(self, number: int) -> dict[str, Any] | None:
        """Everything about one job; None: neither chain nor journal knows it as ours. Raises
        RetryLater: the journal or every node is away."""
        ...
