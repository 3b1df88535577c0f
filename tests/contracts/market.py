"""A market on an EVM for tests: deployed once, forked for each; and the twin of model and EVM."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from typing import Any

import contracts
from devnet.simulation.protocol import DEAD, Event, Model, Terms
from tests.contracts.evm import Contract, Evm, Reverted, account
from tests.contracts.pair import same

T0 = 1_800_000_000
TERMS = Terms(
    stake_per_job=1000, job_bootstrapping=60, job_startup=90, job_exit_cool_down=30, quorum=2
)
TYPE = "us-east-1/c6a.xlarge"
URL = "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
ENDPOINT = "203.0.113.7:1300"
UNIT = 10**12  # the price of one base unit a second
MONEY = 10**15

AUDITORS = tuple(account(900 + i) for i in range(3))
PROVIDERS = tuple(account(100 + i) for i in range(8))
USERS = tuple(account(10 + i) for i in range(3))
USER, STRANGER = USERS[0], USERS[2]  # who requests the jobs, and who has no part in them


def crowd_of(count: int) -> list[str]:
    """Accounts of a crowd that may list, beside the providers with names."""
    return [account(1000 + number) for number in range(count)]


@cache
def _ground(terms: Terms, crowd: int) -> tuple[Contract, Contract, Contract]:
    """POND, payment token and registry, with everybody rich and everything approved."""
    evm = Evm(now=T0)
    pond = evm.deploy(contracts.TEST_TOKEN, "POND", "POND", 18)
    money = evm.deploy(contracts.TEST_TOKEN, "Test USD", "tUSD", 6)
    registry = evm.deploy(
        contracts.REGISTRY, pond.address, money.address, astuple(terms), list(AUDITORS)
    )
    for person in (*PROVIDERS, *USERS, *crowd_of(crowd)):
        for token in (pond, money):
            token.send(person, "mint", person, MONEY)
            token.send(person, "approve", registry.address, 2**256 - 1)
    evm.keep()
    return pond, money, registry


class Market:
    """One market, on a fork of its own."""

    def __init__(self, terms: Terms = TERMS, crowd: int = 0) -> None:
        ground = _ground(terms, crowd)
        self.terms = terms
        self.crowd = crowd_of(crowd)
        self.evm = ground[0].evm.fork()
        self.pond, self.money, self.registry = (each.on(self.evm) for each in ground)

    def on_fork(self) -> Market:
        """The same market as it was kept, on a fork."""
        twin = copy.copy(self)
        twin.evm = self.evm.fork()
        twin.pond, twin.money, twin.registry = (
            each.on(twin.evm) for each in (self.pond, self.money, self.registry)
        )
        return twin

    def send(self, sender: str, function: str, *args: Any) -> list[Event]:
        """A transaction; Reverted when the contract says no."""
        return self.registry.send(sender, function, *args)

    def read(self, function: str, *args: Any) -> Any:
        """What a view answers."""
        return self.registry.read(function, *args)

    def refuses(self, sender: str, function: str, *args: Any) -> str:
        """The reason of a revert that must come."""
        try:
            self.send(sender, function, *args)
        except Reverted as no:
            return no.reason
        raise AssertionError(f"{function}{args} did not revert")

    def provider(self, number: int, price: int, *, stake: int = 1, name: str = TYPE) -> str:
        """A provider with stake for so many jobs that lists a type."""
        who = PROVIDERS[number]
        if stake:
            self.send(who, "stake", stake * self.terms.stake_per_job)
        self.send(who, "register", name, price)
        return who

    def request(self, *, max_price: int = 10**20, deposit: int = 1000, name: str = TYPE) -> int:
        """A job of the first user; its id."""
        self.send(USER, "requestJob", name, max_price, URL, deposit)
        count: int = self.read("jobCount")
        return count

    def serve(self, *, price: int = UNIT, deposit: int = 1000) -> str:
        """The first job, requested and at once started by PROVIDERS[0]: that provider."""
        who = self.provider(0, price)
        self.send(who, "reportStarted", self.request(deposit=deposit), ENDPOINT)
        return who

    def slash(self, job_id: int) -> list[Event]:
        """A quorum of reports about the current generation; the last one's events."""
        generation = self.read("job", job_id).generation
        votes = [
            self.send(auditor, "reportFault", job_id, generation)
            for auditor in AUDITORS[: self.terms.quorum]
        ]
        return votes[-1]

    def later(self, seconds: int) -> None:
        self.evm.now += seconds


class Twin:
    """The same calls on the contract and on the model, which must agree on everything."""

    def __init__(self, terms: Terms = TERMS, people: Sequence[str] = (*PROVIDERS, *USERS)) -> None:
        self.market = Market(terms)
        self.model = Model(terms, AUDITORS, T0)
        self.people = people
        self._closed: set[int] = set()
        for person in people:
            self.model.state.pond[person] = self.model.state.money[person] = MONEY

    def later(self, seconds: int) -> None:
        self.market.later(seconds)
        self.model.now += seconds

    def send(self, sender: str, function: str, *args: Any) -> str:
        """One transaction on both; the reason of the revert, or nothing."""
        return same(self.model, self.market, sender, function, *args) or ""

    def check_money(self, *, closed: bool = False) -> None:
        """Rule 9 and locked <= total, from what the contract and the tokens say.

        Jobs that were stopped before hold nothing, and are read again only when `closed`.
        """
        held = self.market.money.read("balanceOf", self.market.registry.address)
        staked = self.market.pond.read("balanceOf", self.market.registry.address)
        assert held == self._check_jobs(closed)
        assert staked == self._check_stakes()

    def _check_jobs(self, closed: bool) -> int:
        escrows = 0
        for job_id, job in enumerate(self.model.state.jobs, 1):
            if closed or job_id not in self._closed:
                row = self.market.read("job", job_id)
                assert tuple(row) == job.row()
                escrows += row.escrow
            if job.stop_reason:
                self._closed.add(job_id)
        return escrows

    def _check_stakes(self) -> int:
        state, stakes = self.model.state, 0
        for person in filter(state.total.get, self.people):
            total = self.market.read("stakeOf", person)
            locked = self.market.read("lockedStakeOf", person)
            assert locked <= total
            assert (total, locked) == (state.total[person], state.locked[person])
            stakes += total
        return stakes

    def check_everything(self, names: Sequence[str]) -> None:
        """Every view and every balance."""
        self.check_money(closed=True)
        read, model = self.market.read, self.model
        assert read("jobCount") == len(model.state.jobs)
        for person in self.people:
            assert self.market.money.read("balanceOf", person) == model.state.money[person]
            assert self.market.pond.read("balanceOf", person) == model.state.pond[person]
            active = read("jobsOf", person, 0, 50)
            assert (len(active), set(active)) == (len(set(active)), model.active_jobs(person))
        assert self.market.pond.read("balanceOf", DEAD) == model.state.pond[DEAD]
        for name in names:
            assert [tuple(each) for each in read("offers", name, 0, 50)] == model.offers(name)
            for person in self.people:
                assert read("offer", person, name) == model.offer(person, name)
