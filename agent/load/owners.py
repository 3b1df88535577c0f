"""What each user has had of this provider: jobs at once, and launches that came to nothing.

A limit on either is the operator's to set: a refusal costs a stake where an exit takes longer than
bootstrapping, so there is none by default.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from agent.market.model import Address, JobId

DAY_SECONDS = 86_400.0


@dataclass(slots=True)
class Owners:
    """Counted as it happens. The day's waste is read back from the journal after a restart."""

    _jobs: dict[str, set[JobId]] = field(default_factory=dict)
    _wasted: dict[str, deque[float]] = field(default_factory=dict)

    def serves(self, user: Address, job: JobId) -> None:
        """The job is tended for this user."""
        self._jobs.setdefault(user.lower(), set()).add(job)

    def done(self, user: Address, job: JobId) -> None:
        """Nothing of the job is left."""
        tended = self._jobs.get(user.lower(), set())
        tended.discard(job)
        if not tended:
            self._jobs.pop(user.lower(), None)

    def wasted(self, user: str, at: float) -> None:
        """A launch for one of the user's jobs came to nothing at `at` (unix seconds)."""
        self._wasted.setdefault(user.lower(), deque()).append(at)

    def others(self, user: Address, job: JobId) -> int:
        """How many other jobs of this user are tended."""
        tended = self._jobs.get(user.lower(), set())
        return len(tended) - (job in tended)

    def wasted_today(self, user: Address, now: float) -> int:
        """How many launches came to nothing for this user in the last day."""
        times = self._wasted.get(user.lower())
        while times and times[0] <= now - DAY_SECONDS:
            times.popleft()
        return len(times or ())
