"""What the journal told of each job, kept small and read on as it grows.

One read takes only lines that are new. The oldest jobs are let go when there are too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from agent.journal.lines import ASSIGNED, ATTESTED, ENDED, SLASHED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.market.model import JobId
from agent.status.cockpit import Harm
from agent.status.tally import HARMS

MOST_JOBS = 50_000
# On PostgreSQL a line with a lower number may be committed after one with a higher.
OVERLAP = 500
PART = 2_000  # lines that are read at once
NAMES = (ASSIGNED, ATTESTED, ENDED, *HARMS)


T = TypeVar("T")


class Read(Protocol[T]):
    """A part of the journal behind a number, each row with its own."""

    def __call__(self, number: int, /, *, limit: int) -> list[tuple[int, T]]: ...


@dataclass(slots=True)
class Chapter:
    """One job. Times are unix seconds; `launches` are those that led to an instance."""

    instance_type: str = ""
    assigned_at: float = 0.0
    attested_at: float | None = None
    ended_at: float | None = None
    outcome: str = ""
    harms: dict[str, Harm] = field(default_factory=dict)
    slashed: int = 0
    launches: list[float] = field(default_factory=list)


class Notebook:
    """`read` in a thread; `jobs` is replaced by nothing and grows only there."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Chapter] = {}
        self._line, self._launch = 0, 0

    def read(self, reader: Reader) -> None:
        """Take in what is new. Raises RetryLater."""
        told = partial(reader.told_after, names=NAMES)
        self._line = self._read_on(self._line, told, self._take)
        self._launch = self._read_on(self._launch, reader.launched_after, self._add)

    def _read_on(self, last: int, read: Read[T], take: Callable[[T], None]) -> int:
        """In parts, so that a long journal is never in memory; the last number."""
        after = last - OVERLAP
        while rows := read(after, limit=PART):
            for _, row in rows:
                take(row)
            after = rows[-1][0]
            last = max(last, after)
            for job in sorted(self.jobs)[: max(0, len(self.jobs) - MOST_JOBS)]:
                del self.jobs[job]
        return last

    def harms(self, since: float) -> Iterator[Harm]:
        """Jobs missed, refused and slashed, in no order."""
        for chapter in list(self.jobs.values()):
            yield from (harm for harm in chapter.harms.values() if harm.at >= since)

    def _chapter(self, job: JobId) -> Chapter:
        return self.jobs.setdefault(job, Chapter())

    def _take(self, event: Event) -> None:
        if event.job is None:
            return
        chapter = self._chapter(event.job)
        if event.name == ASSIGNED:
            chapter.instance_type = str(event.fields.get("instance_type", ""))
            chapter.assigned_at = float(event.fields.get("assigned_at") or event.at)
            chapter.attested_at = chapter.ended_at = None
        elif event.name == ATTESTED:
            chapter.attested_at = chapter.attested_at or event.at
        elif event.name == ENDED:
            chapter.ended_at, chapter.outcome = event.at, event.text
        else:
            what = HARMS[event.name]
            chapter.harms[what] = Harm(event.at, what, event.job, event.text)
            if event.name == SLASHED:
                chapter.slashed = int(event.fields.get("amount", 0))

    def _add(self, launch: LaunchRecord) -> None:
        launches = self._chapter(launch.job).launches
        if launch.at not in launches:
            launches.append(launch.at)
            launches.sort()
