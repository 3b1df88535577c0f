"""Random lives of a market: the contract and the model agree after every step.

Longer runs: `CONTRACTS_THOROUGH=1 pytest tests/contracts/test_machine.py`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devnet.simulation.protocol import MAX_PRICE, Job, Terms
from tests.contracts.market import AUDITORS, ENDPOINT, PROVIDERS, UNIT, URL, USERS, Twin

pytestmark = pytest.mark.integration

THOROUGH = "CONTRACTS_THOROUGH" in os.environ
TYPES = ("us-east-1/c6a.xlarge", "x")
PEOPLE = (*PROVIDERS[:4], *USERS[:2])

providers = st.sampled_from(PROVIDERS[:4])
people = st.sampled_from(PEOPLE)
types = st.sampled_from(TYPES)
# Few prices, so that there are ties; some owe less than a base unit a second, one is the limit.
prices = st.sampled_from(
    [UNIT, UNIT, 2 * UNIT, 3 * UNIT, UNIT // 3, 7 * 10**10, UNIT + 1, 10 * UNIT, MAX_PRICE]
)
funds = st.sampled_from([1, 2, 3, 7, 30, 60, 100, 271, 1000])
picks = st.integers(0, 7)

# What can be done about a job; twice what is seldom reached.
ACTIONS = ("reportStarted", "settle", "addFunds", "requestToExitJob", "finalizeExit",
           "requestToStopJob", "reportFault", "slash", "slash", "nothing")  # fmt: skip


CALLS: tuple[tuple[Any, ...], ...] = (
    ("requestToStopJob",), ("requestToExitJob",), ("reportStarted", ENDPOINT), ("reportFault", 1),
    ("addFunds", 5), ("settle",), ("finalizeExit",),
)  # fmt: skip


def is_active(job: Job) -> bool:
    return job.stop_reason == 0


def has_active_jobs(life: Life) -> bool:
    return any(map(is_active, life.jobs))


class Life(RuleBasedStateMachine):
    """A market with four providers; times are short, so that boundaries are met often."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin(Terms(10, 20, 30, 15, 2), PEOPLE)

    @property
    def jobs(self) -> list[Job]:
        return self.twin.model.state.jobs

    def pick(self, number: int) -> tuple[int, Job]:
        """One of the active jobs."""
        jobs = [(job_id, job) for job_id, job in enumerate(self.jobs, 1) if is_active(job)]
        return jobs[number % len(jobs)]

    @initialize(price_list=st.lists(prices, min_size=4, max_size=4), slots=st.integers(1, 3))
    def open(self, price_list: list[int], slots: int) -> None:
        for who, price in zip(PROVIDERS[:4], price_list, strict=True):
            self.twin.send(who, "stake", 10 * slots + 3)
            self.twin.send(who, "register", TYPES[0], price)

    @rule(who=providers, name=types, price=prices)
    def register(self, who: str, name: str, price: int) -> None:
        self.twin.send(who, "register", name, price)

    @rule(
        who=providers,
        function=st.sampled_from(["stake", "stake", "unstake", "unstake all", "deregister"]),
        amount=st.sampled_from([1, 7, 10, 20]),
    )
    def change_stake_or_leave(self, who: str, function: str, amount: int) -> None:
        if function == "unstake all":
            self.twin.send(who, "unstake", self.twin.model.unlocked(who))
        elif function == "deregister":
            self.twin.send(who, function, TYPES[amount % 2])
        else:
            self.twin.send(who, function, amount)

    @rule(who=people, name=types, price=prices, deposit=funds)
    def request_at_a_price(self, who: str, name: str, price: int, deposit: int) -> None:
        self.twin.send(who, "requestJob", name, price, URL, deposit)

    @rule(who=people, deposit=funds, start_after=st.sampled_from([0, 1, 19, 20]))
    def request_and_start(self, who: str, deposit: int, start_after: int) -> None:
        if not self.twin.send(who, "requestJob", TYPES[0], 2**256 - 1, URL, deposit):
            self.twin.later(start_after)
            job_id, job = len(self.jobs), self.jobs[-1]
            self.twin.send(job.provider, "reportStarted", job_id, ENDPOINT)

    @precondition(has_active_jobs)
    @rule(number=picks, seconds=st.sampled_from([0, 0, 1, 5]), action=st.sampled_from(ACTIONS))
    def act(self, number: int, seconds: int, action: str) -> None:
        self.twin.later(seconds)
        self.do(*self.pick(number), action)

    @precondition(has_active_jobs)
    @rule(
        number=picks,
        which=picks,
        early=st.sampled_from([-1, 0, 0, 1]),
        action=st.sampled_from(ACTIONS),
    )
    def act_at_a_boundary(self, number: int, which: int, early: int, action: str) -> None:
        job_id, job = self.pick(number)
        model = self.twin.model
        seconds = [second for second, _ in model.ends(job)]
        seconds += [job.assigned_at + model.terms.job_bootstrapping]
        seconds += [job.assigned_at + model.terms.job_startup]
        wait = seconds[which % len(seconds)] + early - model.now
        if 0 < wait < 10**6:
            self.twin.later(wait)
        self.do(job_id, job, action)

    def do(self, job_id: int, job: Job, action: str) -> None:
        """An action by the one who may, or by anybody where anybody may."""
        generation = job.generation
        match action:
            case "reportStarted":
                self.twin.send(job.provider, action, job_id, ENDPOINT)
            case "addFunds":
                self.twin.send(PEOPLE[job_id % len(PEOPLE)], action, job_id, 1 + job.escrow % 99)
            case "requestToExitJob":
                self.twin.send(job.provider, action, job_id)
            case "requestToStopJob":
                self.twin.send(job.user, action, job_id)
            case "reportFault":
                self.twin.send(AUDITORS[2], action, job_id, generation)
            case "slash":
                for auditor in AUDITORS:
                    self.twin.send(auditor, "reportFault", job_id, generation)
            case "settle" | "finalizeExit":
                self.twin.send(USERS[1], action, job_id)

    @precondition(lambda self: self.jobs)
    @rule(who=people, number=picks, call=st.sampled_from(CALLS))
    def somebody_tries(self, who: str, number: int, call: tuple[Any, ...]) -> None:
        """Any call by anybody about any job, mostly refused."""
        self.twin.send(who, call[0], 1 + number % len(self.jobs), *call[1:])

    @invariant()
    def money_is_exact(self) -> None:
        self.twin.check_money()

    def teardown(self) -> None:
        self.twin.check_everything(TYPES)


Life.TestCase.settings = settings(
    max_examples=600 if THOROUGH else 32,
    stateful_step_count=70 if THOROUGH else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# Longer than the suite's limit, when run thoroughly.
TestLife = pytest.mark.timeout(7200)(Life.TestCase)
