"""Tokens that misbehave, and a constructor that is asked for nonsense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import contracts
from devnet.simulation.protocol import Terms
from tests.contracts.evm import Contract, Evm, Interface, Reverted, account
from tests.contracts.market import AUDITORS, ENDPOINT, PROVIDERS, T0, TERMS, TYPE, UNIT, URL, USERS

pytestmark = pytest.mark.integration

TRUE, FALSE, NOTHING, SETTLES, STAKES = range(5)


@cache
def compiled() -> tuple[str, list[dict[str, Any]]]:
    from vyper import compile_code

    source = Path(__file__).with_name("tokens.vy").read_text()
    made = compile_code(source, output_formats=["bytecode", "abi"])
    return made["bytecode"], made["abi"]


class Odd:
    """A market whose two tokens are odd ones, with job 1 running."""

    def __init__(self) -> None:
        self.evm = Evm(now=T0)
        self.pond, self.money = self._token(), self._token()
        tokens = (self.pond.address, self.money.address)
        self.registry = self.evm.deploy(contracts.REGISTRY, *tokens, astuple(TERMS), list(AUDITORS))
        self.registry.send(PROVIDERS[0], "stake", 2000)
        self.registry.send(PROVIDERS[0], "register", TYPE, UNIT)
        self.registry.send(USERS[0], "requestJob", TYPE, UNIT, URL, 100)
        self.registry.send(PROVIDERS[0], "reportStarted", 1, ENDPOINT)
        self.evm.now += 95

    def _token(self) -> Contract:
        code, abi = compiled()
        return Contract(self.evm, self.evm.create(bytes.fromhex(code[2:])), Interface(abi))


CALLS: tuple[tuple[Any, ...], ...] = (
    ("money", USERS[0], "requestJob", TYPE, UNIT, URL, 10),
    ("money", USERS[0], "addFunds", 1, 10),
    ("money", USERS[0], "settle", 1),
    ("money", USERS[0], "requestToStopJob", 1),
    ("money", PROVIDERS[0], "requestToExitJob", 1),
    ("pond", PROVIDERS[0], "stake", 1),
    ("pond", PROVIDERS[0], "unstake", 1),
)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[2])
def test_token__answers_false__reverts(call: tuple[Any, ...]) -> None:
    odd = Odd()
    getattr(odd, call[0]).send(account(1), "misbehave", FALSE)
    with pytest.raises(Reverted, match="token refused"):
        odd.registry.send(*call[1:])


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[2])
def test_token__answers_nothing__is_believed(call: tuple[Any, ...]) -> None:
    odd = Odd()
    getattr(odd, call[0]).send(account(1), "misbehave", NOTHING)
    assert odd.registry.send(*call[1:]) != []  # it came to its events


@pytest.mark.parametrize("mode", [SETTLES, STAKES])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[2])
def test_token__calls_back__reverts(call: tuple[Any, ...], mode: int) -> None:
    odd = Odd()
    getattr(odd, call[0]).send(account(1), "misbehave", mode)
    with pytest.raises(Reverted):
        odd.registry.send(*call[1:])
    assert odd.registry.read("job", 1).escrow == 100


def test_token__false_at_the_slash__reverts_the_slash() -> None:
    odd = Odd()
    odd.registry.send(AUDITORS[0], "reportFault", 1, 1)
    odd.pond.send(account(1), "misbehave", FALSE)
    with pytest.raises(Reverted, match="token refused"):
        odd.registry.send(AUDITORS[1], "reportFault", 1, 1)
    assert odd.registry.read("stakeOf", PROVIDERS[0]) == 2000


# The constructor


def construct(
    terms: Terms = TERMS,
    auditors: tuple[str, ...] = AUDITORS,
    choose: Callable[[str, str], tuple[str, str]] = lambda pond, money: (pond, money),
) -> Contract:
    evm = Evm(now=T0)
    pond = evm.deploy(contracts.TEST_TOKEN, "POND", "POND", 18).address
    money = evm.deploy(contracts.TEST_TOKEN, "Test USD", "tUSD", 6).address
    return evm.deploy(contracts.REGISTRY, *choose(pond, money), astuple(terms), list(auditors))


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (replace(TERMS, stake_per_job=0), "stakePerJob is 0"),
        (replace(TERMS, job_bootstrapping=0), "jobBootstrapping is 0"),
        (replace(TERMS, job_startup=59), "startup before bootstrapping"),
        (replace(TERMS, job_startup=2**64), "jobStartup too long"),
        (replace(TERMS, job_exit_cool_down=2**64), "cool-down too long"),
        (replace(TERMS, quorum=0), "quorum is 0"),
        (replace(TERMS, quorum=4), "quorum above auditors"),
    ],
)
def test_constructor__terms_that_cannot_work__revert(terms: Terms, reason: str) -> None:
    with pytest.raises(Reverted, match=reason):
        construct(terms)


def test_constructor__an_auditor_named_twice__counts_once() -> None:
    with pytest.raises(Reverted, match="quorum above auditors"):
        construct(auditors=(AUDITORS[0], AUDITORS[0]))


@pytest.mark.parametrize(
    ("choose", "reason"),
    [
        (lambda pond, _: (pond, pond), "one token for both"),
        (lambda pond, _: (pond, account(1)), "paymentToken is no contract"),
        (lambda _, money: (account(1), money), "pond is no contract"),
    ],
)
def test_constructor__tokens_that_are_none__revert(
    choose: Callable[[str, str], tuple[str, str]], reason: str
) -> None:
    with pytest.raises(Reverted, match=reason):
        construct(choose=choose)


def test_constructor__extremes__are_taken() -> None:
    for terms in (Terms(1, 1, 1, 0, 1), Terms(2**256 - 1, 1, 2**64 - 1, 2**64 - 1, 3)):
        assert tuple(construct(terms).read("params")) == astuple(terms)
