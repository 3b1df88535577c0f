"""MarketV1 on an EVM for tests: deployed once, forked for each; and the twin of model and EVM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from eth_utils.crypto import keccak

import contracts
from devnet.simulation.marketv1.model import CLOSED, HOLDER, RATE_LOCK, MarketV1, job_id
from devnet.simulation.protocol import Event
from tests.contracts.evm import Contract, Evm, Reverted, account
from tests.contracts.pair import same

T0 = 1_800_000_000
WAIT = 300
UNIT = 10**12  # the rate of one base unit a second
MONEY = 10**15
ADMIN = account(1)
PROVIDER, OTHER_PROVIDER = account(100), account(101)
OWNER, STRANGER = account(10), account(11)
PEOPLE = (PROVIDER, OTHER_PROVIDER, OWNER, STRANGER)
NOBODY = "0x" + "0" * 40
METADATA = (
    '{"instance":"c6a.xlarge","region":"us-east-1","memory":4096,"vcpu":2,"url":"https://e/x"}'
)
MAX = 2**256 - 1


@cache
def _ground() -> tuple[Contract, Contract]:
    evm = Evm(now=T0)
    money = evm.deploy(contracts.TEST_TOKEN, "Test USD", "tUSD", 6)
    market = evm.deploy(contracts.MARKETV1, money.address, WAIT)
    for person in PEOPLE:
        money.send(person, "mint", person, MONEY)
        money.send(person, "approve", market.address, MAX)
    evm.keep()
    return money, market


class Live:
    """One market, on a fork of its own."""

    def __init__(self) -> None:
        ground = _ground()
        self.evm = ground[0].evm.fork()
        self.money, self.contract = (each.on(self.evm) for each in ground)

    def send(self, sender: str, function: str, *args: Any) -> list[Event]:
        """A transaction; Reverted when the contract says no."""
        return self.contract.send(sender, function, *args)

    def read(self, function: str, *args: Any) -> Any:
        """What a view answers."""
        return self.contract.read(function, *args)

    def refuses(self, sender: str, function: str, *args: Any) -> str:
        """The reason of a revert that must come; empty: a silent one."""
        try:
            self.send(sender, function, *args)
        except Reverted as no:
            return no.reason
        raise AssertionError(f"{function}{args} did not revert")

    def open(self, rate: int = UNIT, balance: int = 1000, *, provider: str = PROVIDER) -> bytes:
        """A job of OWNER; its id."""
        number: int = self.read("jobIndex")
        self.send(OWNER, "jobOpen", METADATA, provider, rate, balance)
        return job_id(number)

    def job(self, job: bytes) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self.read("jobs", job)
        return found

    def balance(self, job: bytes) -> int:
        balance: int = self.job(job)[4]
        return balance

    def lock(self, job: bytes) -> tuple[int, int]:
        """(unlock time, announced rate) as anybody can read it."""
        found: tuple[int, int] = self.read("locks", keccak(bytes.fromhex(RATE_LOCK) + job))
        return found

    def held(self, who: str | None = None) -> int:
        """Tokens of an account, or of the market."""
        tokens: int = self.money.read("balanceOf", who or self.contract.address)
        return tokens

    def later(self, seconds: int) -> None:
        self.evm.now += seconds


class Twin:
    """The same calls on the contract and on the model, which must agree on everything."""

    def __init__(self, people: Sequence[str] = PEOPLE) -> None:
        self.live = Live()
        self.model = MarketV1(T0, WAIT)
        self.people = people
        for person in people:
            self.model.state.money[person] = MONEY

    def later(self, seconds: int) -> None:
        self.live.later(seconds)
        self.model.now += seconds

    def send(self, sender: str, function: str, *args: Any) -> str | None:
        """One transaction on both; the reason of the revert, None when it went through."""
        return same(self.model, self.live, sender, function, *args)

    def check_money(self) -> None:
        """What the market holds is what jobs have left, and every job is as the model has it."""
        state = self.model.state
        assert self.live.held() == state.money[HOLDER]
        assert state.money[HOLDER] == sum(job.balance for job in state.jobs.values())
        for number in state.jobs:
            assert self.live.job(job_id(number)) == self.model.job(number).row()
            lock = self.model.lock(number)
            assert self.live.lock(job_id(number)) == (lock.unlock_time, lock.rate)

    def check_everything(self) -> None:
        """Every view and every balance, of closed jobs and of one never opened too."""
        self.check_money()
        state = self.model.state
        assert self.live.read("jobIndex") == state.opened
        for number in range(state.opened + 1):
            assert self.live.job(job_id(number)) == self.model.job(number).row()
            if number not in state.jobs:
                assert self.live.job(job_id(number)) == CLOSED.row()
        for person in self.people:
            assert self.live.held(person) == state.money[person]
            assert self.live.read("providers", person) == state.providers.get(person, "")
