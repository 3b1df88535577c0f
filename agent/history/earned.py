"""What a job came to by now, settled or not, each second of it counted once.

A market that keeps no sum in a job tells its settlements by events, and what is not settled by the
job. The two are heard at different moments: a settlement whose event came and whose job was not
read again since would be counted twice, and one the other way round not at all, for some seconds.
So both are taken as of one moment, the last settlement that both know of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.history.earnings import Earnings
from agent.market.model import Job, JobId
from agent.market.terms import Terms

PATIENCE_SECONDS = 60.0  # for the event of a settlement that the job shows: some polls of a node


@dataclass(slots=True)
class _Known:
    """The job as it was when events had told of all its settlements, and since when it is not so
    any more; 0: it still is."""

    job: Job
    behind_since: float = 0.0


@dataclass(slots=True)
class Earned:
    """`told` is what events alone tell; None: the market's jobs keep their sums themselves."""

    told: Earnings | None
    _known: dict[JobId, _Known] = field(default_factory=dict)

    def of(self, job: Job, terms: Terms, now: float) -> int:
        """Base units, by `now`."""
        return self.settled(job.id) + self.beside(job, terms, now)

    def settled(self, job: JobId) -> int:
        """What events alone told of it; 0 where the market's job has all of it."""
        return self.told.of(job) if self.told else 0

    def beside(self, job: Job, terms: Terms, now: float, since: int = 0) -> int:
        """What `of` is beyond `settled`, of the time from `since` on."""
        base, second = self.base(job, now), int(now)
        rest = terms.earned(base, second, since=since)
        if self.told is None or base.is_stopped:
            return rest
        return rest - self.told.after(job.id, max(base.settled_until, since - 1))

    def by_day(self, jobs: Iterable[Job], now: float) -> tuple[list[Job], Mapping[int, int]]:
        """The jobs to count what is not settled by, and what is to be counted as settled beside
        them on each day, by its first second (UTC)."""
        bases = [self.base(job, now) for job in jobs]
        if self.told is None:
            return bases, {}
        early = {job.id: job.settled_until for job in bases if not job.is_stopped}
        return bases, self.told.by_day(early)

    def base(self, job: Job, now: float) -> Job:
        """The job as it was at the last settlement that events told of. One they never tell of is
        waited for no longer than PATIENCE_SECONDS: a node may have lost it."""
        if self.told is None:
            return job
        known = self._known.get(job.id)
        if known is not None and job.settled_until < known.job.settled_until and not job.is_stopped:
            return job  # an older reading, as good by itself
        if known is not None and not self._all_told(job, known.job):
            known.behind_since = known.behind_since or now
            if now - known.behind_since <= PATIENCE_SECONDS:
                return known.job
        self._known[job.id] = _Known(job)
        return job

    def _all_told(self, job: Job, before: Job) -> bool:
        """Whether there is no settlement of it that events still owe. When one closes a job, the
        job itself does not say the time."""
        assert self.told is not None
        if job.is_stopped and not before.is_stopped:
            return self.told.newest(job.id) > before.settled_until
        return job.settled_until <= max(before.settled_until, self.told.newest(job.id))
