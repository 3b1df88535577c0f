"""What MarketV1 settled to this provider, as the logs that the watcher reads anyway tell it.

The contract keeps no sum of what a job was paid: its settlements are events and nothing else. Each
is one line of its job's timeline, however often a log is read: a transaction settles a job once
with more than nothing. One that a fork took back stays told. What was settled while the agent was
down is read at its next start (`slashes.SlashHistory`).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from agent.chain.head import MOST_SECONDS
from agent.chain.rpc import NodeRefused, integer
from agent.journal.lines import PAID, Event
from agent.journal.reading import Put, Reader
from agent.market.model import Address, JobId
from agent.markets.marketv1.reads import jobs_in, market_abi
from agent.ports import Clock

EARNINGS_READ = "earnings.read"  # the agent's own line: settlements up to this block are told
_DAY = 86_400


def settled_topic() -> str:
    """The one event that the history asks for."""
    return market_abi().topics["JobSettled"]


class Earnings:
    """Stands where logs come in: `jobs_in` names our jobs, `tell` hears of their settlements."""

    def __init__(
        self, provider: Address, ours: set[JobId], clock: Clock, tell: Callable[[Event], None]
    ) -> None:
        self.total = 0
        self._provider = provider
        self._ours = ours
        self._clock = clock
        self._tell = tell
        self._days = Counter[int]()  # base units by day since 1970, UTC
        self._jobs = Counter[JobId]()
        self._paid: dict[JobId, list[tuple[int, int]]] = {}  # when, and base units; oldest first
        self._newest: dict[JobId, int] = {}
        self._told: set[tuple[str, JobId | None]] = set()

    def restore(self, reader: Reader) -> Put:
        """What the journal has was told; and whose settlements are ours is known by it, of closed
        jobs too, which the chain does not name any more."""
        return partial(self._put, reader.named(PAID), reader.assigned())

    def _put(self, paid: Sequence[Event], ours: set[JobId]) -> None:
        self.total = 0
        self._days.clear()
        self._jobs.clear()
        self._paid.clear()
        self._told.clear()
        for event in paid:
            if event.job is None:
                continue
            self._ours.add(event.job)
            if _key(event) not in self._told:  # hosts of earlier versions could both tell of one
                self._count(event.job, event)
        self._ours.update(ours)

    def since(self, second: int) -> int:
        """Base units settled on the day of `second` (UTC) and after it."""
        return sum(amount for day, amount in self._days.items() if day >= second // _DAY)

    def by_day(self, until: Mapping[JobId, int]) -> dict[int, int]:
        """Base units settled on each day, by its first second (UTC); of these jobs, up to that
        second alone."""
        days = Counter(self._days)
        for job, second in until.items():
            for at, amount in self._since(job, second):
                days[at // _DAY] -= amount
        return {day * _DAY: amount for day, amount in days.items()}

    def of(self, job: JobId) -> int:
        """Base units settled of this job."""
        return self._jobs[job]

    def after(self, job: JobId, second: int) -> int:
        """Base units settled of this job later than that."""
        return sum(amount for _, amount in self._since(job, second))

    def newest(self, job: JobId) -> int:
        """When it was last settled, as far as events told; 0: they told of no settlement. One of
        nothing counts: the job's own time moves with it."""
        return self._newest.get(job, 0)

    def _since(self, job: JobId, second: int) -> Sequence[tuple[int, int]]:
        paid = self._paid.get(job, [])
        return paid[bisect_right(paid, second, key=lambda one: one[0]) :]

    def jobs_in(self, logs: Sequence[Mapping[str, Any]]) -> set[JobId]:
        """The jobs of ours that these logs speak of."""
        found = jobs_in(logs, self._provider, self._ours)
        for each in logs:
            self._look(each)
        return found

    def _look(self, log: Mapping[str, Any]) -> None:
        try:
            topics = log.get("topics") or [None]
            if topics[0] != settled_topic():
                return
            job, words = JobId(integer(topics[1])), str(log.get("data")).removeprefix("0x")
            amount, at = int(words[:64], 16), integer(int(words[64:128], 16), MOST_SECONDS)
            transaction = str(log["transactionHash"])
        except (NodeRefused, ValueError, LookupError, TypeError, AttributeError):
            return  # no such log
        if job in self._ours:
            self._newest[job] = max(at, self.newest(job))
        if job in self._ours and amount and (transaction, job) not in self._told:
            fields = {"amount": str(amount), "tx": transaction}
            event = Event(float(at), PAID, job, None, text=f"{amount} base units", fields=fields)
            self._tell(event)
            self._count(job, event)

    def _count(self, job: JobId, event: Event) -> None:
        amount = int(event.fields.get("amount", 0))
        self._told.add(_key(event))
        self.total += amount
        self._days[int(event.at) // _DAY] += amount
        self._jobs[job] += amount
        insort(self._paid.setdefault(job, []), (int(event.at), amount))
        self._newest[job] = max(int(event.at), self.newest(job))


def _key(event: Event) -> tuple[str, JobId | None]:
    return str(event.fields.get("tx")), event.job
