"""Money and stake as the status server shows them, read from the chain once a minute.

Nothing is decided by these figures. When the chain does not answer, the last ones stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain

import structlog

from agent.chain.fees import market_fees
from agent.chain.rpc import number
from agent.history.earned import Earned
from agent.journal.transactions import TxJournal
from agent.market.model import BlockRef, Job, JobId
from agent.market.terms import DueKind, Terms
from agent.ports import Blocks, Clock
from agent.status.source import MoneyRow
from agent.wiring.adapters import fees_of
from agent.wiring.wired import Wired
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

EVERY_SECONDS = 60.0
_DAY = 86_400
GAS_A_JOB = 300_000  # all transactions of one job, from start to end: docs/gas.md
_MOST_JOBS = 20_000


class Money:
    """Keeps `row` current; `follow` runs until it is cancelled."""

    def __init__(self, world: Wired, clock: Clock) -> None:
        self.row = MoneyRow(gas_day_budget=world.config.gas.per_day_wei)
        self._market = world.chain.market
        self._head = world.state.sources.market
        self._endpoints = world.chain.endpoints
        self._reader = world.state.reader
        self._record = TxJournal(world.state.reader.engine)
        self._aside = world.state.aside
        self._provider = world.state.sources.account.provider
        self._payer = world.chain.signer.address if world.chain.signer else None
        self._clock = clock
        self._fees = fees_of(world.config)
        self._memory = world.state.world.memory
        self._stopped: dict[JobId, Job] = {}  # these never change any more
        self.earned = Earned(world.earnings)
        # What the row was worked out from, for whoever works out more: this provider's jobs.
        self.jobs: Mapping[JobId, Job] = {}
        self.terms: Terms | None = None
        self.at: BlockRef | None = None

    async def follow(self) -> None:
        """Read for ever, once a minute."""
        while True:
            try:
                await self.read()
            except (RetryLater, TryElsewhere) as fault:
                log.info("money.later", error=str(fault))
            await self._clock.sleep(EVERY_SECONDS)

    async def read(self) -> None:
        """Read everything at one block. Raises RetryLater, TryElsewhere."""
        blocks = await self._head.blocks()
        at, provider = blocks.head, self._provider
        held = await self._market.holdings(provider, at)
        balance = await self._coin()
        terms = await self._head.terms(at)
        total, today = await self._earned(blocks, terms)
        day_ago, self.at = self._clock.now() - _DAY, blocks.head
        self.row = replace(
            self.row,
            symbol=held.payment.symbol, decimals=held.payment.decimals,
            earned_total=total, earned_today=today,
            stake_total=held.stake_total, stake_locked=held.stake_locked,
            stake_symbol=held.pond.symbol if held.pond else "",
            stake_decimals=held.pond.decimals if held.pond else 0, coin_balance=balance,
            **self._window(terms), stake_jobs=await self._head.openings(at),
            gas_jobs=await self._gas_jobs(balance) if self._payer else None,
            gas_day=await self._aside(lambda: self._record.worst_fees(since=day_ago)),
        )  # fmt: skip

    async def _coin(self) -> int:
        """What is there for gas, wei; 0 where no key could spend any."""
        if self._payer is None:
            return 0
        return await number(self._endpoints, "eth_getBalance", self._payer, "latest")

    def _window(self, terms: Terms) -> dict[str, int]:
        """Seconds from an assignment to its slash point or goal, as for a job that is known; 0: the
        market has none, or there was no job yet."""
        tended = (one.head for one in self._memory.jobs.values() if one.head is not None)
        job = next(chain(tended, self._stopped.values()), None)
        if job is None:
            return {"window_seconds": 0, "goal_seconds": 0}
        due = terms.due(job)
        seconds, slash = due.at - job.assigned_at, due.kind is DueKind.SLASH
        return {"window_seconds": seconds * slash, "goal_seconds": seconds * (not slash)}

    async def _gas_jobs(self, balance: int) -> float | None:
        """How many jobs' transactions the coin pays for at fees of now; None: fees are not known,
        or beyond gas.max_fee."""
        fees = await market_fees(self._endpoints, self._fees)
        return None if fees is None else balance / (GAS_A_JOB * max(fees.max_fee, 1))

    async def _earned(self, blocks: Blocks, terms: Terms) -> tuple[int, int]:
        """All that jobs of the journal came to, and the part of it since midnight (UTC)."""
        known = set(await self._aside(lambda: self._reader.jobs(_MOST_JOBS)))
        jobs = [job for job in (await self._jobs(known, blocks)).values() if job.id in known]
        now = blocks.head.timestamp
        self.terms, self.jobs = terms, {j.id: j for j in jobs if j.provider == self._provider}
        ours = [job for job in self.jobs.values() if job.is_started]
        midnight, told = now - now % _DAY, self.earned.told
        total = sum(self.earned.beside(job, terms, now) for job in ours)
        today = sum(self.earned.beside(job, terms, now, since=midnight) for job in ours)
        if told is None:
            return total, today
        return total + told.total, today + told.since(midnight)

    async def _jobs(self, known: Collection[JobId], blocks: Blocks) -> Mapping[JobId, Job]:
        """As the agent knows them, who looks at each of its jobs every few minutes and whenever
        something happens to one; only others are read."""
        tended = self._memory.jobs
        heads = {number: one.head for number, one in tended.items() if one.head is not None}
        found = self._stopped | heads
        missing = [number for number in known if number not in found]
        read = await self._market.jobs(missing, blocks.head) if missing else {}
        self._stopped |= {n: job for n, job in read.items() if job.is_stopped and n not in tended}
        return found | read
