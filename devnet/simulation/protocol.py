"""The protocol as plain Python: what the contract must do, written from the protocol's text.

Nothing here is shared with the contract but the reasons of its reverts. Lists are sorted when
they are needed and times are compared as they are told; there is no cleverness to test. The
contract's own tests hold this model against the EVM; the simulator's chain is made of it.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SCALE = 10**12
MAX_PRICE = 2**128 - 1
MAX_LISTINGS = 64
MAX_ASSIGNMENTS = 256
PAGE = 50
DEAD = "0x000000000000000000000000000000000000dEaD"
NOBODY = "0x" + "0" * 40

BOOTSTRAPPING, RUNNING, EXITING, STOPPED = 1, 2, 3, 4
USER_REQUEST, ESCROW_EXHAUSTED, PROVIDER_EXIT, NO_PROVIDER = 1, 2, 3, 4


class Refusal(Exception):
    """The contract must revert with this reason."""


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise Refusal(reason)


@dataclass(frozen=True)
class Event:
    """One log: its name and its arguments in the order of the ABI."""

    name: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Terms:
    """The parameters, in the order of `params()`."""

    stake_per_job: int
    job_bootstrapping: int
    job_startup: int
    job_exit_cool_down: int
    quorum: int


@dataclass
class Job:
    """Field by field what `job` answers, then what only the model keeps."""

    user: str
    instance_type: str
    max_price: int
    enclave_url: str
    escrow: int
    provider: str = NOBODY
    price: int = 0
    generation: int = 0
    stop_reason: int = 0
    assigned_at: int = 0
    started_at: int = 0
    exit_requested_at: int = 0
    stopped_at: int = 0
    settled_until: int = 0
    endpoint: str = ""
    paid: int = 0
    slashed: frozenset[str] = frozenset()
    voters: frozenset[str] = frozenset()
    id: int = 0

    @property
    def status(self) -> int:
        if self.stop_reason:
            return STOPPED
        if self.exit_requested_at:
            return EXITING
        return RUNNING if self.started_at else BOOTSTRAPPING

    def row(self) -> tuple[Any, ...]:
        """As the ABI has it."""
        return (
            self.user, self.provider, self.instance_type, self.max_price, self.price,
            self.enclave_url, self.generation, self.status, self.stop_reason, self.assigned_at,
            self.started_at, self.exit_requested_at, self.stopped_at, self.escrow,
            self.settled_until, self.endpoint,
        )  # fmt: skip


@dataclass
class State:
    """Everything that a revert takes back. A call works on a copy: any state can be kept."""

    pond: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    money: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    total: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    locked: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    listings: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    turns: int = 0

    def copy(self) -> State:
        """Jobs are shared: whoever changes one replaces it (`Model._known`)."""
        return State(
            self.pond.copy(), self.money.copy(), self.total.copy(), self.locked.copy(),
            self.listings.copy(), self.jobs.copy(), self.turns,
        )  # fmt: skip


class Model:
    """A market; `call` runs one function as the chain would, whole or not at all."""

    HOLDER = "registry"

    def __init__(self, terms: Terms, auditors: Sequence[str], now: int) -> None:
        self.terms = terms
        self.auditors = frozenset(auditors)
        self.now = now
        self.state = State()
        self.events: list[Event] = []

    def call(self, sender: str, function: str, *args: Any) -> list[Event]:
        """The events of one transaction. Raises Refusal, changing nothing then."""
        before = self.state
        self.state = before.copy()
        self.events = []
        try:
            getattr(self, f"do_{function}")(sender, *args)
        except Refusal:
            self.state = before
            raise
        return self.events

    # Stake

    def do_stake(self, sender: str, amount: int) -> None:
        require(amount > 0, "amount is 0")
        require(self.state.total[sender] + amount < 2**256, "amount too high")
        self.state.total[sender] += amount
        self._emit("Staked", sender, amount)
        self._move(self.state.pond, sender, self.HOLDER, amount)

    def do_unstake(self, sender: str, amount: int) -> None:
        require(amount > 0, "amount is 0")
        require(amount <= self.unlocked(sender), "stake is locked")
        self.state.total[sender] -= amount
        self._emit("Unstaked", sender, amount)
        self._move(self.state.pond, self.HOLDER, sender, amount)

    def unlocked(self, provider: str) -> int:
        return self.state.total[provider] - self.state.locked[provider]

    # Offers

    def do_register(self, sender: str, instance_type: str, price: int) -> None:
        _check_text(instance_type, "instanceType", 64)
        require(price > 0, "price is 0")
        require(price <= MAX_PRICE, "price too high")
        require(self.state.total[sender] >= self.terms.stake_per_job, "stake too low")
        key = (instance_type, sender)
        old = self.state.listings.get(key)
        require(old is not None or self._listings_of(sender) < MAX_LISTINGS, "too many listings")
        if old is None or old[0] != price:
            self.state.turns += 1
            self.state.listings[key] = (price, self.state.turns)
        self._emit("Registered", sender, instance_type, price)

    def do_deregister(self, sender: str, instance_type: str) -> None:
        _check_text(instance_type, "instanceType", 64)
        require((instance_type, sender) in self.state.listings, "not listed")
        del self.state.listings[instance_type, sender]
        self._emit("Deregistered", sender, instance_type)

    def offer(self, provider: str, instance_type: str) -> int:
        return self.state.listings.get((instance_type, provider), (0, 0))[0]

    def offers(self, instance_type: str) -> list[tuple[str, int]]:
        found = [
            (price, turn, provider)
            for (name, provider), (price, turn) in self.state.listings.items()
            if name == instance_type
        ]
        return [(provider, price) for price, _, provider in sorted(found)]

    def _listings_of(self, provider: str) -> int:
        return sum(owner == provider for _, owner in self.state.listings)

    def _winner(self, job: Job) -> tuple[str, int] | None:
        for provider, price in self.offers(job.instance_type):
            stake_left = self.unlocked(provider) >= self.terms.stake_per_job
            if price <= job.max_price and stake_left and provider not in job.slashed:
                return provider, price
        return None

    # Jobs

    def do_requestJob(
        self, sender: str, instance_type: str, max_price: int, enclave_url: str, deposit: int
    ) -> None:
        _check_text(instance_type, "instanceType", 64)
        _check_text(enclave_url, "enclaveUrl", 512)
        require(deposit > 0, "deposit is 0")
        number = len(self.state.jobs) + 1
        job = Job(sender, instance_type, max_price, enclave_url, deposit, id=number)
        self.state.jobs.append(job)
        self._emit("JobRequested", job.id, sender, instance_type, max_price, enclave_url, deposit)
        require(self._assign(job), "no provider")
        self._move(self.state.money, sender, self.HOLDER, deposit)

    def do_addFunds(self, sender: str, job_id: int, amount: int) -> None:
        require(amount > 0, "amount is 0")
        job = self._alive(job_id)
        require(job.escrow + amount < 2**256, "amount too high")
        job.escrow += amount
        self._emit("FundsAdded", job_id, sender, amount)
        self._move(self.state.money, sender, self.HOLDER, amount)

    def do_reportStarted(self, sender: str, job_id: int, endpoint: str) -> None:
        _check_text(endpoint, "endpoint", 128)
        job = self._alive(job_id)
        require(sender == job.provider, "not the provider")
        require(job.started_at == 0, "already started")
        deadline = job.assigned_at + self.terms.job_bootstrapping
        require(self.now < deadline, "bootstrapping is over")
        job.started_at = job.settled_until = self.now
        job.endpoint = endpoint
        self._emit("JobStarted", job_id, sender, endpoint)

    def do_requestToStopJob(self, sender: str, job_id: int) -> None:
        job = self._active(job_id)
        require(sender == job.user, "not the user")
        self._settle(job)
        if not job.stop_reason:
            self._stop(job, self.now, USER_REQUEST)

    def do_requestToExitJob(self, sender: str, job_id: int) -> None:
        job = self._alive(job_id)
        require(sender == job.provider, "not the provider")
        require(job.exit_requested_at == 0, "exit already requested")
        job.exit_requested_at = self.now
        self._emit("ExitRequested", job_id, sender, self.now + self.terms.job_exit_cool_down)

    def do_finalizeExit(self, _sender: str, job_id: int) -> None:
        job = self._known(job_id)
        if not job.stop_reason:
            self._settle(job)
            require(job.stop_reason != 0, "cool-down not over")

    def do_settle(self, _sender: str, job_id: int) -> None:
        job = self._known(job_id)
        if not job.stop_reason:
            self._settle(job)

    # Auditing

    def do_reportFault(self, sender: str, job_id: int, generation: int) -> None:
        require(sender in self.auditors, "not an auditor")
        job = self._alive(job_id)
        require(generation == job.generation, "not the current generation")
        window = self.terms.job_startup if job.started_at else self.terms.job_bootstrapping
        require(self.now >= job.assigned_at + window, "too early to report")
        require(sender not in job.voters, "already reported")
        job.voters |= {sender}
        self._emit("FaultReported", job_id, sender, generation)
        if len(job.voters) >= self.terms.quorum:
            self._slash(job)

    def _slash(self, job: Job) -> None:
        lost = self.terms.stake_per_job
        self.state.total[job.provider] -= lost
        self.state.locked[job.provider] -= lost
        self._move(self.state.pond, self.HOLDER, DEAD, lost)
        self._emit("JobSlashed", job.id, job.provider, lost)
        job.slashed |= {job.provider}
        if len(job.slashed) == MAX_ASSIGNMENTS or not self._assign(job):
            self._end(job, self.now, NO_PROVIDER)

    # What the functions share

    def _known(self, job_id: int) -> Job:
        require(1 <= job_id <= len(self.state.jobs), "no such job")
        job = self.state.jobs[job_id - 1] = copy.copy(self.state.jobs[job_id - 1])
        return job

    def _active(self, job_id: int) -> Job:
        job = self._known(job_id)
        require(job.stop_reason == 0, "job is over")
        return job

    def _alive(self, job_id: int) -> Job:
        job = self._active(job_id)
        self._settle(job)
        require(job.stop_reason == 0, "job is over")
        return job

    def ends(self, job: Job) -> list[tuple[int, int]]:
        """(second, reason) of what will end the job by itself, the decisive one first."""
        found = []
        if job.started_at:
            span = -(-(job.escrow + job.paid) * SCALE // job.price)
            found.append((job.started_at + span, ESCROW_EXHAUSTED))
        if job.exit_requested_at:
            exit_at = job.exit_requested_at + self.terms.job_exit_cool_down
            found.append((exit_at, PROVIDER_EXIT))
        return sorted(found)

    def _settle(self, job: Job) -> None:
        over = [end for end in self.ends(job) if end[0] <= self.now]
        until = over[0][0] if over else self.now
        if job.started_at:
            owed = job.price * (until - job.started_at) // SCALE
            self._earn(job, min(owed - job.paid, job.escrow))
            job.settled_until = until
        if over:
            self._stop(job, *over[0])

    def _earn(self, job: Job, amount: int) -> None:
        if amount:
            job.paid += amount
            job.escrow -= amount
            self._move(self.state.money, self.HOLDER, job.provider, amount)
            self._emit("JobSettled", job.id, job.provider, amount)

    def _stop(self, job: Job, second: int, reason: int) -> None:
        self.state.locked[job.provider] -= self.terms.stake_per_job
        self._end(job, second, reason)

    def _end(self, job: Job, second: int, reason: int) -> None:
        self._move(self.state.money, self.HOLDER, job.user, job.escrow)
        job.escrow = 0
        job.stopped_at, job.stop_reason = second, reason
        self._emit("JobStopped", job.id, job.provider, reason)

    def _assign(self, job: Job) -> bool:
        won = self._winner(job)
        if won is None:
            return False
        job.provider, job.price = won
        self.state.locked[job.provider] += self.terms.stake_per_job
        job.generation += 1
        job.assigned_at = self.now
        job.started_at = job.settled_until = job.exit_requested_at = job.paid = 0
        job.endpoint = ""
        job.voters = frozenset()
        self._emit("JobAssigned", job.id, job.provider, job.generation, job.price, self.now)
        return True

    def active_jobs(self, provider: str) -> set[int]:
        return {
            job.id for job in self.state.jobs if job.provider == provider and not job.stop_reason
        }

    def _emit(self, name: str, *args: Any) -> None:
        self.events.append(Event(name, args))

    def _move(self, token: defaultdict[str, int], giver: str, taker: str, amount: int) -> None:
        require(token[giver] >= amount, "balance too low")
        token[giver] -= amount
        token[taker] += amount


def _check_text(text: str, name: str, longest: int) -> None:
    require(len(text.encode()) > 0, f"{name} is empty")
    require(len(text.encode()) <= longest, f"{name} too long")
