"""The page's history, kept current once a minute beside the loop; nothing is decided by it.

Chain and journal are read by others or in a thread; what is worked out from them is pure
(`days`, `starts`, `rivals`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from agent.journal.lines import ATTESTED
from agent.journal.reading import Reader
from agent.journal.transactions import TxJournal
from agent.load.cost_history import CostHistory
from agent.load.costs import Cost
from agent.load.remembered import JobMemory
from agent.market.model import Job, JobId
from agent.ports import Clock
from agent.status import days, rivals, starts
from agent.status.cockpit import Figures, Harm, PastRow, StartRow
from agent.status.explorer import Explorer
from agent.status.finding import Found, Query, find
from agent.status.job_page import JobFacts, to_json
from agent.status.job_rows import JobRows
from agent.status.money import Money
from agent.status.notebook import Chapter, Notebook
from agent.status.upkeep import Upkeep
from agent.wiring.wired import Wired
from faults import Fault, RetryLater, TryElsewhere

log = structlog.get_logger()

EVERY_SECONDS = 60.0
FIRST_SECONDS = 1.0  # between looks until the first figures are there
FRESH_SECONDS = 2.0  # a look at past jobs is never older
MOST_HARMS = 20
MOST_LINES = 500  # of one job's timeline
_ORDERS = {
    "": lambda row: -row.id,
    "id": lambda row: row.id,
    "type": lambda row: (row.instance_type, -row.id),
    "assigned": lambda row: row.assigned_at,
    "ended": lambda row: row.ended_at or 0.0,
    "start": lambda row: row.start_seconds or 0.0,
    "earned": lambda row: row.earned or 0,
    "outcome": lambda row: (row.outcome, -row.id),
}


class Books:
    """`History` over a running agent; `follow` runs until it is cancelled."""

    def __init__(
        self, world: Wired, money: Money, upkeep: Upkeep, rows: JobRows, clock: Clock
    ) -> None:
        self._world = world
        self._money = money
        self._upkeep = upkeep
        self._rows = rows
        self._clock = clock
        self._reader: Reader = world.state.reader
        self._gas = TxJournal(self._reader.engine)
        self._memory = world.state.world.memory
        self._notebook = Notebook()
        self._figures = Figures()
        self._costs = CostHistory()
        self._reading, self._read_at = asyncio.Lock(), float("-inf")
        chain = world.chain.endpoints.chain_id
        self._explorer = Explorer.of(chain, world.config.status.explorer)

    def figures(self) -> Figures:
        return self._figures

    async def follow(self) -> None:
        """Work everything out for ever, once a minute; sooner until money was read once."""
        while True:
            try:
                await self.look()
            except Fault as fault:  # whoever writes the journal judges its damage
                log.info("books.later", error=str(fault))
            known = self._figures.at > 0
            await self._clock.sleep(EVERY_SECONDS if known else FIRST_SECONDS)

    async def look(self) -> None:
        """Once. Raises RetryLater, TryElsewhere."""
        if self._money.terms is None:
            return
        await self._read_on()
        ranks = await self._ranks()
        self._figures = await asyncio.to_thread(self._work_out, ranks)

    async def _read_on(self) -> None:
        """What the journal has by now; asked for by many at once, it is read once."""
        async with self._reading:
            if self._clock.now() - self._read_at >= FRESH_SECONDS:
                await asyncio.to_thread(self._notebook.read, self._reader)
                self._read_at = self._clock.now()

    async def _ranks(self) -> tuple[Any, ...]:
        """None where the market has no offers on the chain; the last ones while no node tells."""
        market, state = self._world.chain.market, self._world.state
        if not state.sources.market.abilities.lists_on_chain or self._money.at is None:
            return ()
        kinds = {*state.offering.prices, *state.offering.desk.listed}
        provider = state.sources.account.provider
        try:
            return await rivals.ranks(market, provider, kinds, self._money.at)  # type: ignore[arg-type]  # it lists on the chain
        except (RetryLater, TryElsewhere) as fault:
            log.info("books.no_ranks", error=str(fault))
            return self._figures.ranks

    def _work_out(self, ranks: tuple[Any, ...]) -> Figures:
        now, jobs, terms = self._clock.now(), self._money.jobs, self._money.terms
        assert terms is not None
        since = days.midnight(now) - (days.DAYS - 1) * days.DAY
        gas = self._gas.worst_fees_by_day(since)
        self._costs = CostHistory.read(self._reader)
        harms = sorted(self._notebook.harms(since), key=lambda harm: -harm.at)
        chapters = dict(self._notebook.jobs)
        bases, told = self._money.earned.by_day(jobs.values(), now)
        account = days.Account(
            bases, terms, list(self._stints(chapters, jobs, now, since)), gas, harms,
            [(harm.at, chapters[JobId(harm.job)].slashed) for harm in harms
             if harm.what == "slashed"],
            told,
        )  # fmt: skip
        return Figures(
            at=now, days=days.by_day(account, now), ranks=ranks, harms=tuple(harms[:MOST_HARMS]),
            starts=self._starts(chapters, jobs, harms, since),
            gas_days=days.gas_days(gas, self._money.row.coin_balance, now),
        )  # fmt: skip

    def _stints(
        self, chapters: Mapping[JobId, Chapter], jobs: Mapping[JobId, Job], now: float, since: float
    ) -> Iterable[days.Stint]:
        for number, chapter in chapters.items():
            until = ended_at(chapter, jobs.get(number))
            if chapter.launches and (until or now) >= since:
                yield from self._stints_of(chapter, until or now)

    def _stints_of(self, chapter: Chapter, until: float) -> Iterator[days.Stint]:
        now = self._upkeep.costs.get(chapter.instance_type) or Cost(None, "not known")
        return days.stints_of(chapter.instance_type, chapter.launches, until, self._costs, now)

    def _starts(
        self, chapters: Mapping[JobId, Chapter], jobs: Mapping[JobId, Job],
        harms: Sequence[Harm], since: float,
    ) -> Any:  # fmt: skip
        told, row = self._reports(), self._money.row
        rows = (
            StartRow(number, seconds, chapter.assigned_at)
            for number, chapter in chapters.items()
            if chapter.assigned_at >= since
            and (seconds := start_seconds(chapter, jobs.get(number), told=told)) is not None
        )
        missed = sum(harm.what == "missed" for harm in harms)
        return starts.starts_of(rows, missed, row.window_seconds, row.goal_seconds)

    def _reports(self) -> bool:
        """Whether the chain says when a job was up; else its first proof does."""
        return self._world.state.sources.market.abilities.reports_start

    async def past(self, query: Query) -> Found[PastRow]:
        await self._read_on()
        chapters, tended = dict(self._notebook.jobs), set(self._memory.jobs)
        jobs = self._money.jobs
        told = self._reports()

        def chosen() -> Found[PastRow]:
            over = (
                (number, chapter, jobs.get(number))
                for number, chapter in chapters.items()
                if number not in tended or chapter.ended_at is not None
            )
            rows = [
                past_row(number, each, self._earned(number, each, job), job, told=told)
                for number, each, job in over
            ]
            return find(rows, query, _text, _ORDERS)

        return await asyncio.to_thread(chosen)

    def _earned(self, number: JobId, chapter: Chapter, job: Job | None) -> int | None:
        """What it came to; None: nobody knows. Of one that ended all was settled: where events
        told that, what the chain said of the job a minute ago must not be counted beside them."""
        earned, terms = self._money.earned, self._money.terms
        over = chapter.ended_at is not None and earned.told is not None
        if job is not None and terms is not None and not over:
            return earned.of(job, terms, self._clock.now())
        return None if earned.told is None else earned.settled(number)

    async def job(self, number: int) -> dict[str, Any] | None:
        await self._read_on()
        found = JobId(number)
        memory = self._memory.jobs.get(found)
        if memory is None and found not in self._notebook.jobs:
            return None  # numbers that anybody can think of ask no node for anything
        timeline = await asyncio.to_thread(self._reader.timeline, found, MOST_LINES)
        gas = await asyncio.to_thread(lambda: self._gas.worst_fees(job=found))
        chapter = self._notebook.jobs.get(found, Chapter())
        job = await self._job(found, memory)
        now = self._clock.now()
        stints = list(self._stints_of(chapter, ended_at(chapter, job) or now))
        facts = JobFacts(
            id=found, now=now, job=job, terms=self._money.terms, memory=memory,
            row=self._rows.row(memory) if memory else None, timeline=timeline, chapter=chapter,
            cost=days.whole_cost(stints, now),
            gas=gas, attested=next((e for e in timeline[::-1] if e.name == ATTESTED), None),
            hosts=self._world.state.world.fleet.hosts(found), explorer=self._explorer,
            window_seconds=self._money.row.window_seconds,
            goal_seconds=self._money.row.goal_seconds,
            up_seconds=start_seconds(chapter, job, told=self._reports()),
            starts_on_chain=self._reports(),
            earned=self._earned(found, chapter, job),
        )  # fmt: skip
        return to_json(facts)

    async def _job(self, number: JobId, memory: JobMemory | None) -> Job | None:
        """As the chain has it: from memory where it is known there, else read."""
        known = (memory.head if memory else None) or self._money.jobs.get(number)
        if known is not None or self._money.at is None:
            return known
        return (await self._world.chain.market.jobs([number], self._money.at)).get(number)


def ended_at(chapter: Chapter, job: Job | None) -> float | None:
    """Until when it was paid for: by the chain, else by what was seen; None: it goes on."""
    slashed = chapter.harms.get("slashed")
    if slashed is not None and (job is None or chapter.ended_at is not None):
        return slashed.at
    return float(job.stopped_at) if job and job.stopped_at else chapter.ended_at


def start_seconds(chapter: Chapter, job: Job | None, *, told: bool = True) -> float | None:
    """From the assignment to the start: by the chain where it is `told` there, else to the first
    proof of an enclave."""
    if told and job is not None and job.started_at:
        return float(job.started_at - job.assigned_at)
    if chapter.attested_at is None or "slashed" in chapter.harms:
        return None
    return max(0.0, chapter.attested_at - chapter.assigned_at)


def past_row(
    number: JobId,
    chapter: Chapter,
    earned: int | None,
    job: Job | None,
    *,
    told: bool = True,
) -> PastRow:
    """One job that is over."""
    return PastRow(
        number, chapter.instance_type, chapter.assigned_at, ended_at(chapter, job),
        chapter.outcome, tuple(chapter.harms), start_seconds(chapter, job, told=told),
        earned,
    )  # fmt: skip


def _text(row: PastRow) -> str:
    return " ".join((str(row.id), row.instance_type, row.outcome, *row.harms))
