"""The images of jobs that run elsewhere, on this host's disk before it leads.

A taker that has to replace an instance, or to measure an image for a question to an enclave, would
fetch it first. What to fetch is the journal's word (which job, which URL, that the leader could
verify it); nothing is written. Few at once, one after the other: the leader's own fetches are paid
for by the same line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from agent.journal.lines import ASSIGNED, ENDED, IMAGE_READY
from agent.journal.reading import Reader
from agent.load.pins import Pins, name_of, pins_of
from agent.loop.state import LoopState
from agent.market.model import JobId
from faults import Refused, RetryLater, TryElsewhere

log = structlog.get_logger()

EVERY_SECONDS = 60.0  # between two looks at what runs
JOBS_A_READ = 500
MOST_IMAGES = 16  # different ones; jobs come with few
FETCH_SECONDS = 600.0  # nothing waits for it


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image by its URL, for the newest job that has it. `pin`: as in `ports.Images.fetch`."""

    url: str
    pin: str


def wanted(reader: Reader) -> dict[JobId, Wanted]:
    """Of jobs that are served: the newest MOST_IMAGES images. Raises RetryLater.

    Read from the newest job downwards, some at a time: a host that stands by need not hold the
    history of thousands to find a few images.
    """
    pins, below = pins_of(reader), None
    newest = dict[Wanted, JobId]()
    while jobs := reader.youngest(ASSIGNED, below, JOBS_A_READ):
        below = jobs[-1]
        for job, image in _images(reader, jobs, pins):
            newest.setdefault(image, job)
            if len(newest) == MOST_IMAGES:
                return {job: image for image, job in newest.items()}
    return {job: image for image, job in newest.items()}


def _images(reader: Reader, jobs: Sequence[JobId], pins: Pins) -> Iterator[tuple[JobId, Wanted]]:
    """Of those of `jobs` that are served and whose image the leader has."""
    told = reader.last(ASSIGNED, jobs=jobs)
    ready, ended = reader.last(IMAGE_READY, jobs=jobs), reader.last(ENDED, jobs=jobs)
    for job in jobs:
        line, url = told[job], told[job].fields.get("url")
        over = job in ended and line.at <= ended[job].at
        if url and job in ready and not over:
            yield job, Wanted(str(url), pins.get((job, name_of(str(url))), ""))


@dataclass(slots=True)
class Prefetch:
    """What this host holds while it stands by."""

    state: LoopState
    held: dict[JobId, Wanted] = field(default_factory=dict)
    wanted: dict[JobId, Wanted] = field(default_factory=dict)  # by the line `read_to` and before
    read_to: int = 0

    async def follow(self) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except (RetryLater, TryElsewhere) as later:
                log.info("prefetch.later", error=str(later))
            await self.state.world.clock.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """One round: what is no more wanted goes, what is new comes. Raises RetryLater."""
        await self.state.aside(self._read)
        for job in self.held.keys() - self.wanted.keys():
            await self.state.world.images.release(job)
            del self.held[job]
        for job, image in self.wanted.items():
            if self.held.get(job) != image:
                await self._fetch(job, image)

    def _read(self) -> None:
        """Nothing, while the leader notes nothing."""
        newest = self.state.reader.newest()
        if newest != self.read_to:
            self.wanted, self.read_to = wanted(self.state.reader), newest

    async def _fetch(self, job: JobId, image: Wanted) -> None:
        deadline = self.state.now() + FETCH_SECONDS
        try:
            await self.state.world.images.fetch(
                image.url, job=job, deadline=deadline, pin=image.pin
            )
        except (Refused, RetryLater, TryElsewhere) as fault:
            log.info("prefetch.failed", job=job, error=str(fault))
        else:
            self.held[job] = image
