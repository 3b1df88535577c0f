"""Asks several endpoints what one of them claims, beside the turns of the loop and in batches.

Turns say which jobs to ask about and go on; the answers are in the memory when a job is looked at
again, and `on_news` says which those are. Nobody waits for an endpoint that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import structlog

from agent.decide.belief import Heard
from agent.decide.job_view import FinalView, WitnessPhase
from agent.load.remembered import JobMemory, Memory
from agent.market.model import BlockRef, JobId
from agent.market.testimony import Disagreement, Testimony
from agent.ports import Blocks, Clock, Witness
from faults import RetryLater

log = structlog.get_logger()

AGAIN_SECONDS = 5.0  # between two questions about a job of which endpoints differ, or at its end
RETRY_SECONDS = 1.0  # after silence: mostly a second endpoint that has not got the block yet
MOST_TRIES = 3  # at one block; then at a newer one
IDLE_SECONDS = 3600.0
PAUSE_SECONDS = 5.0  # once a second endpoint has been silent for longer


@dataclass(slots=True)
class Asking:
    """`ask*` never wait. `follow` is an endless task; `blocks` are those of the last turn."""

    witness: Witness | None
    memory: Memory
    clock: Clock
    on_news: Callable[[Iterable[JobId]], None] = lambda jobs: None
    blocks: Blocks | None = None
    _heads: dict[JobId, float] = field(default_factory=dict)  # when to ask, unix seconds
    _finals: dict[JobId, float] = field(default_factory=dict)
    _asked: dict[tuple[JobId, bool], float] = field(default_factory=dict)
    _terms: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    silent_since: float | None = None

    def ask(self, jobs: Iterable[JobId]) -> None:
        """What these are at the head."""
        self._want(self._heads, jobs, final=False)

    def ask_final(self, jobs: Iterable[JobId]) -> None:
        """What these are at the finalized block."""
        self._want(self._finals, jobs, final=True)

    def ask_terms(self) -> None:
        """What the market's parameters are."""
        self._terms = True
        self._news.set()

    def _want(self, wanted: dict[JobId, float], jobs: Iterable[JobId], *, final: bool) -> None:
        now = self.clock.now()
        for job in jobs:
            if job not in wanted:
                before = self._asked.get((job, final), float("-inf"))
                soon = now if before > now else max(now, before + AGAIN_SECONDS)
                wanted[job] = soon
                self._news.set()

    async def follow(self) -> None:
        """Ask what is to be asked, for ever; without a second endpoint there is nobody to."""
        tries = 0
        while self.witness is None or self.blocks is None:
            await self.clock.sleep(RETRY_SECONDS if self.witness else IDLE_SECONDS)
        while True:
            await self._pause(tries)
            if tries % MOST_TRIES == 0:
                blocks = self.blocks
            heads, finals = self._due(self._heads), self._due(self._finals)
            answered = True
            if heads or self._terms:
                answered &= await self._ask_heads(heads, blocks.head)
            if finals:
                answered &= await self._ask_finals(finals, blocks.final)
            tries = 0 if answered else tries + 1

    def _due(self, wanted: dict[JobId, float]) -> list[JobId]:
        now = self.clock.now()
        return sorted(job for job, at in wanted.items() if at <= now or at > now + PAUSE_SECONDS)

    async def _pause(self, tries: int) -> None:
        """Until somebody asks, a question is due, or a silent endpoint is to be asked again."""
        if tries:
            pause = RETRY_SECONDS if tries <= MOST_TRIES else PAUSE_SECONDS
            return await self.clock.sleep(pause)
        due = min((*self._heads.values(), *self._finals.values()), default=None)
        if self._terms or (due is not None and due <= self.clock.now()):
            return await asyncio.sleep(0)
        self._news.clear()
        asked = asyncio.create_task(self._news.wait())
        later = PAUSE_SECONDS if due is None else min(PAUSE_SECONDS, due - self.clock.now())
        slept = asyncio.create_task(self.clock.sleep(later))
        try:
            await asyncio.wait({asked, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            slept.cancel()

    async def _ask_heads(self, jobs: Collection[JobId], at: BlockRef) -> bool:
        told = await self._testimony(jobs, at)
        if not isinstance(told, Testimony):
            return False
        self._terms = False
        self._done(self._heads, jobs, final=False)
        self._note_terms(told)
        for job, known in self._known(jobs):
            known.heard = Heard(told.at, told.jobs[job])
        self.on_news(jobs)
        return True

    def _note_terms(self, told: Testimony) -> None:
        memory = self.memory
        before = (memory.terms, memory.terms_told)
        if len(told.terms) == 1:
            memory.terms, memory.terms_told = told.terms[0], ()
        else:
            memory.terms_told = told.terms
            log.error("endpoints.disagree", about="parameters", stories=len(told.terms))
        if before != (memory.terms, memory.terms_told):
            self.on_news(list(memory.jobs))

    async def _ask_finals(self, jobs: Collection[JobId], at: BlockRef) -> bool:
        told = await self._testimony(jobs, at)
        if isinstance(told, Testimony):
            self._note_terms(told)
        for job, known in self._known(jobs):
            view = self._final(job, at, told)
            if view.witness is not WitnessPhase.SILENT or known.final is None:
                known.final = view
        self._done(self._finals, jobs, final=True)
        self.on_news(jobs)
        return not isinstance(told, RetryLater) or isinstance(told, Disagreement)

    def _final(self, job: JobId, at: BlockRef, told: Testimony | RetryLater) -> FinalView:
        if not isinstance(told, Testimony):
            differs = isinstance(told, Disagreement)
            phase = WitnessPhase.DIFFERS if differs else WitnessPhase.SILENT
            return FinalView(at, None, phase)
        stories = told.jobs[job]
        if len(stories) > 1 or len(told.terms) > 1:
            return FinalView(at, None, WitnessPhase.DIFFERS)
        if not told.final:
            return FinalView(at, None, WitnessPhase.SILENT)  # not yet, or at one endpoint alone
        return FinalView(at, stories[0], WitnessPhase.SPOKE, stories[0])

    async def _testimony(self, jobs: Collection[JobId], at: BlockRef) -> Testimony | RetryLater:
        assert self.witness is not None
        try:
            told = await self.witness.testify(sorted(jobs), at)
        except RetryLater as later:
            self._note_silence(later)
            return later
        self.silent_since = None
        return told

    def _note_silence(self, later: RetryLater) -> None:
        if isinstance(later, Disagreement):
            log.error("endpoints.disagree", about="a block", error=str(later))
        elif self.silent_since is None:
            log.warning("witness.silent", error=str(later))
            self.silent_since = self.clock.now()

    def _known(self, jobs: Iterable[JobId]) -> Iterable[tuple[JobId, JobMemory]]:
        """Those that are still remembered."""
        found = ((job, self.memory.jobs.get(job)) for job in jobs)
        return [(job, known) for job, known in found if known is not None]

    def _done(self, wanted: dict[JobId, float], jobs: Iterable[JobId], *, final: bool) -> None:
        now = self.clock.now()
        for job in jobs:
            wanted.pop(job, None)
            self._asked[job, final] = now
        stale = [key for key, at in self._asked.items() if not 0 <= now - at < AGAIN_SECONDS]
        for key in stale:
            del self._asked[key]
