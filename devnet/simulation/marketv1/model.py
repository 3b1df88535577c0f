"""Marlin's MarketV1 as plain Python, written from what the original does.

Beside `protocol`, which is the registry's. Nothing is shared with `contracts/MarketV1.vy` but the
reasons of its reverts; what the original refuses without a word is refused with an empty one.
The contract's own tests hold this model against the EVM.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from devnet.simulation.protocol import NOBODY, Event, Refusal, require

__all__ = ["CLOSED", "HOLDER", "RATE_LOCK", "Job", "Lock", "MarketV1", "Refusal", "State"]

SCALE = 10**12
WORD = 2**256
RATE_LOCK = (
    "bb00c34f1a27e23493f1bd516e88ec0af9b091cc990f207e765f5bd5af012243"  # keccak("RATE_LOCK")
)
HOLDER = "market"


def job_id(number: int) -> bytes:
    """A job's id as the contract has it: ids are a counter from 0."""
    return number.to_bytes(32, "big")


@dataclass(frozen=True)
class Job:
    """A job in the order of `jobs(bytes32)`."""

    metadata: str
    owner: str
    provider: str
    rate: int
    balance: int
    last_settled: int

    def row(self) -> tuple[Any, ...]:
        """As the ABI has it."""
        return (
            self.metadata, self.owner, self.provider, self.rate, self.balance, self.last_settled,
        )  # fmt: skip


CLOSED = Job("", NOBODY, NOBODY, 0, 0, 0)


@dataclass(frozen=True)
class Lock:
    """An announced rate, in the order of `locks(bytes32)`."""

    unlock_time: int
    rate: int


@dataclass
class State:
    """Everything that a revert takes back. Its values are frozen: a copy is shallow."""

    money: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    providers: dict[str, str] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    locks: dict[int, Lock] = field(default_factory=dict)
    opened: int = 0

    def copy(self) -> State:
        return State(
            self.money.copy(), self.providers.copy(), self.jobs.copy(), self.locks.copy(),
            self.opened,
        )  # fmt: skip


class MarketV1:
    """A market; `call` runs one function as the chain would, whole or not at all."""

    def __init__(self, now: int, wait_seconds: int = 300) -> None:
        self.now = now
        self.wait_seconds = wait_seconds
        self.state = State()
        self.events: list[Event] = []

    def call(self, sender: str, function: str, *args: Any) -> list[Event]:
        """The events of one transaction, the market's only. Raises Refusal, changing nothing."""
        before = self.state
        self.state = before.copy()
        self.events = []
        plain = [int.from_bytes(arg, "big") if isinstance(arg, bytes) else arg for arg in args]
        try:
            getattr(self, f"do_{function}")(sender, *plain)
        except Refusal:
            self.state = before
            raise
        return self.events

    # Providers

    def do_providerAdd(self, sender: str, url: str) -> None:
        require(sender not in self.state.providers, "already exists")
        require(url != "", "invalid")
        self.state.providers[sender] = url
        self._emit("ProviderAdded", sender, url)

    def do_providerUpdateWithCp(self, sender: str, url: str) -> None:
        require(sender in self.state.providers, "not found")
        require(url != "", "invalid")
        self.state.providers[sender] = url
        self._emit("ProviderUpdatedWithCp", sender, url)

    def do_providerRemove(self, sender: str) -> None:
        require(sender in self.state.providers, "not found")
        del self.state.providers[sender]
        self._emit("ProviderRemoved", sender)

    # Jobs

    def job(self, number: int) -> Job:
        """What `jobs` answers: an empty one when it is closed or was never opened."""
        return self.state.jobs.get(number, CLOSED)

    def lock(self, number: int) -> Lock:
        """What `locks` answers of the rate of a job."""
        return self.state.locks.get(number, Lock(0, 0))

    def do_jobOpen(
        self, sender: str, metadata: str, provider: str, rate: int, balance: int
    ) -> None:
        self._move(sender, HOLDER, balance)
        number = self.state.opened
        self.state.opened += 1
        self.state.jobs[number] = Job(metadata, sender, provider, rate, balance, self.now)
        self._tell("JobOpened", number, metadata, sender, provider, rate, balance, self.now)

    def do_jobSettle(self, _sender: str, number: int) -> None:
        self._settle(number)

    def do_jobDeposit(self, sender: str, number: int, amount: int) -> None:
        job = self.job(number)
        require(job.owner != NOBODY, "not found")
        self._move(sender, HOLDER, amount)
        self.state.jobs[number] = replace(job, balance=job.balance + amount)
        self._tell("JobDeposited", number, sender, amount)

    def do_jobClose(self, sender: str, number: int) -> None:
        if self._owned(sender, number).rate != 0:
            require(self._opened_lock(number) == 0, "rate should be zero")
        job = self._settle(number)
        if job.balance > 0:
            self._move(HOLDER, job.owner, job.balance)
        del self.state.jobs[number]
        self._delete_lock(number)
        self._tell("JobClosed", number)

    def do_jobWithdraw(self, sender: str, number: int, amount: int) -> None:
        self._owned(sender, number)
        job = self._settle(number)
        left = _owed(job.rate, self.wait_seconds)
        require(amount <= job.balance - left, "not enough balance")
        self.state.jobs[number] = replace(job, balance=job.balance - amount)
        self._move(HOLDER, sender, amount)
        self._tell("JobWithdrew", number, sender, amount)

    def do_jobMetadataUpdate(self, sender: str, number: int, metadata: str) -> None:
        self.state.jobs[number] = replace(self._owned(sender, number), metadata=metadata)
        self._tell("JobMetadataUpdated", number, metadata)

    def do_jobReviseRateInitiate(self, sender: str, number: int, rate: int) -> None:
        self._owned(sender, number)
        require(number not in self.state.locks, "")
        lock = self.state.locks[number] = Lock(self.now + self.wait_seconds, rate)
        key = (bytes.fromhex(RATE_LOCK), job_id(number))
        self._emit("LockCreated", *key, rate, lock.unlock_time)
        self._tell("JobReviseRateInitiated", number, rate)

    def do_jobReviseRateCancel(self, sender: str, number: int) -> None:
        self._owned(sender, number)
        require(number in self.state.locks, "no request")
        self._delete_lock(number)
        self._tell("JobReviseRateCancelled", number)

    def do_jobReviseRateFinalize(self, sender: str, number: int) -> None:
        self._owned(sender, number)
        rate = self._opened_lock(number)
        self.state.jobs[number] = replace(self._settle(number), rate=rate)
        self._tell("JobReviseRateFinalized", number, rate)

    # What the functions share

    def _owned(self, sender: str, number: int) -> Job:
        job = self.job(number)
        require(job.owner == sender, "only job owner")
        return job

    def _settle(self, number: int) -> Job:
        job = self.job(number)
        amount = min(_owed(job.rate, self.now - job.last_settled), job.balance)
        self._move(HOLDER, job.provider, amount)
        job = replace(job, balance=job.balance - amount, last_settled=self.now)
        self.state.jobs[number] = job
        self._tell("JobSettled", number, amount, self.now)
        return job

    def _opened_lock(self, number: int) -> int:
        lock = self.state.locks.get(number)
        require(lock is not None and lock.unlock_time <= self.now, "")
        return self._delete_lock(number)

    def _delete_lock(self, number: int) -> int:
        rate = self.lock(number).rate
        self.state.locks.pop(number, None)
        self._emit("LockDeleted", bytes.fromhex(RATE_LOCK), job_id(number), rate)
        return rate

    def _move(self, giver: str, taker: str, amount: int) -> None:
        require(taker != NOBODY, "ERC20: transfer to the zero address")
        require(self.state.money[giver] >= amount, "balance too low")
        self.state.money[giver] -= amount
        self.state.money[taker] += amount

    def _tell(self, name: str, number: int, *args: Any) -> None:
        self._emit(name, job_id(number), *args)

    def _emit(self, name: str, *args: Any) -> None:
        self.events.append(Event(name, args))


def _owed(rate: int, seconds: int) -> int:
    """Rounded up; what has no room in a word is refused without a reason."""
    require(rate * seconds + SCALE - 1 < WORD, "")
    return (rate * seconds + SCALE - 1) // SCALE
