"""What a market decides about a job by arithmetic alone, and what it can do at all.

The core asks these and never a market's name: the same lifecycle serves a market with a slash
point and a stake, and one that has neither. Each market has one class that answers, pure, from a
job as the chain shows it; times are unix seconds of the chain, amounts base units of the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.market.model import Ending, Job, Price, Wei


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a market has calls for. What it has none for is not tried, and people are told so."""

    reports_start: bool
    """A provider says on the chain that a job runs, and is paid from then on."""
    can_exit: bool
    """A provider may leave a job by itself, after a time."""
    has_stake: bool
    """Jobs lock a stake, so that its rest bounds how many can be taken."""
    lists_on_chain: bool
    """What is offered, and for how much, stands on the chain."""
    slashes: bool
    """A stake is lost by what is left undone."""
    changes_in_place: bool
    """What a job runs may be changed by its user while it runs."""
    keeps_sums: bool
    """The chain says what a job was paid so far; else that is told by settlements' events alone."""
    open_urls: bool
    """A user may name an image by its URL alone, without a digest."""
    names_jobs: bool
    """The contract lists a provider's jobs; else new ones are found by how many there ever were."""
    administered: bool
    """Somebody can change the token that pays and the code that is run."""


class DueKind(StrEnum):
    SLASH = "slash"  # what can't be up by then loses a stake: it is not begun
    GOAL = "goal"  # what watchers grant: it orders the work, and nothing is given up for it


@dataclass(frozen=True, slots=True)
class Due:
    """By when a job is to be up: the first second that is too late."""

    at: int
    kind: DueKind


class Terms(Protocol):
    """One market's arithmetic, as of the parameters that were read."""

    @property
    def abilities(self) -> Abilities: ...

    def due(self, job: Job) -> Due:
        """By when the job's present assignment is to be up."""
        ...

    def ending(self, job: Job) -> Ending | None:
        """The earliest end already certain; None while only a person could end the job.

        For a stopped job: as it was recorded.
        """
        ...

    def is_over(self, job: Job, now: int) -> bool:
        """Stopped, or not paid for from `now` on by what the chain shows."""
        ...

    def unrecorded(self, job: Job, now: int) -> bool:
        """Of a job that is over: whether a transaction is missing for the chain to have settled
        it as of its end."""
        ...

    def leaves_at(self, job: Job, asked_at: int) -> int | None:
        """When an exit that is asked for at `asked_at` would end the job; None: there is none."""
        ...

    def at_risk(self, job: Job) -> Wei:
        """The stake that the present assignment can lose; 0 where a market has none."""
        ...

    @property
    def reports_to_slash(self) -> int:
        """How many who watch must report an assignment for its stake to be lost; 0: none can."""
        ...

    def owed(self, price: Price, seconds: int) -> Wei:
        """What that many seconds cost at a price, with the market's rounding."""
        ...

    def accrued(self, job: Job, now: int) -> Wei:
        """What a settlement at `now` would pay the provider: never more than the escrow."""
        ...

    def earned(self, job: Job, now: int, since: int = 0) -> Wei:
        """What the present assignment came to by `now`, settled or not; only from `since` on."""
        ...

    def kinder(self, other: Terms) -> Terms:
        """Of two endpoints' stories, what gives a job the longer time for everything."""
        ...
