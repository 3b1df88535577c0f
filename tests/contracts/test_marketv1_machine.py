"""Random lives of MarketV1: the contract and the model agree after every step.

Longer runs: `CONTRACTS_THOROUGH=1 pytest tests/contracts/test_marketv1_machine.py`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from devnet.simulation.marketv1.model import SCALE, job_id
from tests.contracts.marketv1 import (
    MAX,
    METADATA,
    NOBODY,
    OWNER,
    PEOPLE,
    PROVIDER,
    UNIT,
    WAIT,
    Twin,
)

pytestmark = pytest.mark.integration

THOROUGH = "CONTRACTS_THOROUGH" in os.environ

people = st.sampled_from(PEOPLE)
# Some owe less than a base unit a second; the last ones have no room in a word sooner or later.
rates = st.sampled_from([0, 0, 1, UNIT // 3, UNIT, UNIT, UNIT + 1, 7 * UNIT, 2**248, MAX])
funds = st.sampled_from([0, 1, 2, 7, 60, 299, 300, 301, 1000, 10**6])
texts = st.sampled_from(["", METADATA, "{}", "no json at all", "\x00\n\U0001f980" * 9, "x" * 700])
urls = st.sampled_from(["", "http://198.51.100.7:8080", "u" * 300])
picks = st.integers(0, 7)
pauses = st.sampled_from([0, 0, 1, 1, 5, WAIT - 1, WAIT, WAIT + 1])

OF_THE_OWNER: tuple[tuple[Any, ...], ...] = (
    ("jobClose",), ("jobWithdraw", 0), ("jobWithdraw", 5), ("jobWithdraw", 400),
    ("jobMetadataUpdate", METADATA), ("jobReviseRateInitiate", 0), ("jobReviseRateInitiate", 0),
    ("jobReviseRateInitiate", 2 * UNIT), ("jobReviseRateInitiate", MAX), ("jobReviseRateCancel",),
    ("jobReviseRateFinalize",), ("jobReviseRateFinalize",),
)  # fmt: skip
OF_ANYBODY: tuple[tuple[Any, ...], ...] = (
    ("jobSettle",), ("jobDeposit", 0), ("jobDeposit", 50), ("jobDeposit", 10**16),
)  # fmt: skip


class Life(RuleBasedStateMachine):
    """A market with two providers and two owners."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()

    def pick(self, number: int) -> int:
        """The number of an open job, of the oldest mostly."""
        open_jobs = sorted(self.twin.model.state.jobs)
        return open_jobs[number % len(open_jobs)]

    @rule(
        who=people,
        provider=st.sampled_from([PROVIDER, PROVIDER, PROVIDER, OWNER, NOBODY]),
        text=texts,
        rate=rates,
        balance=funds,
    )
    def open(self, who: str, provider: str, text: str, rate: int, balance: int) -> None:
        self.twin.send(who, "jobOpen", text, provider, rate, balance)

    @rule(
        who=people,
        function=st.sampled_from(["providerAdd", "providerUpdateWithCp", "providerRemove"]),
        url=urls,
    )
    def change_the_list_of_providers(self, who: str, function: str, url: str) -> None:
        self.twin.send(who, function, *([] if function == "providerRemove" else [url]))

    @precondition(lambda self: self.twin.model.state.jobs)
    @rule(number=picks, seconds=pauses, call=st.sampled_from(OF_THE_OWNER + OF_ANYBODY))
    def owner_acts(self, number: int, seconds: int, call: tuple[Any, ...]) -> None:
        self.twin.later(seconds)
        job = self.pick(number)
        self.twin.send(self.twin.model.job(job).owner, call[0], job_id(job), *call[1:])

    @precondition(lambda self: self.twin.model.state.jobs)
    @rule(
        number=picks,
        early=st.sampled_from([-1, 0, 0, 1]),
        at=st.sampled_from(["dry", "unlocked"]),
        call=st.sampled_from([*OF_THE_OWNER, *OF_ANYBODY]),
    )
    def owner_acts_at_a_boundary(
        self, number: int, early: int, at: str, call: tuple[Any, ...]
    ) -> None:
        job = self.pick(number)
        found, lock = self.twin.model.job(job), self.twin.model.lock(job)
        dry = found.last_settled + found.balance * SCALE // max(found.rate, 1)
        wait = (dry if at == "dry" else lock.unlock_time) + early - self.twin.model.now
        if 0 < wait < 10**7:
            self.twin.later(wait)
        self.twin.send(found.owner, call[0], job_id(job), *call[1:])

    @rule(who=people, number=picks, call=st.sampled_from(OF_THE_OWNER + OF_ANYBODY))
    def somebody_tries(self, who: str, number: int, call: tuple[Any, ...]) -> None:
        """Any call by anybody about any id: open, closed or never opened."""
        self.twin.send(who, call[0], job_id(number), *call[1:])

    @invariant()
    def money_is_exact(self) -> None:
        self.twin.check_money()

    def teardown(self) -> None:
        self.twin.check_everything()


Life.TestCase.settings = settings(
    max_examples=600 if THOROUGH else 32,
    stateful_step_count=70 if THOROUGH else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# Longer than the suite's limit, when run thoroughly.
TestLife = pytest.mark.timeout(7200)(Life.TestCase)
