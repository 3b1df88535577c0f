"""What everyone but the provider does on the market: users, auditors, a rival, the faucet.

The agent has its own careful way to send transactions; people here use web3 the plain way, and a
revert leaves as Refused with the contract's reason. Not for real keys.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractEvent, ContractFunction
from web3.exceptions import ContractLogicError, Web3Exception
from web3.types import Nonce, TxParams, TxReceipt, Wei

import contracts
from devnet.state import Devnet, Person
from faults import Refused, RetryLater, UsageFault

SECONDS_TO_INCLUDE = 30.0  # a block a second; more means that the chain stands still
POLL_SECONDS = 0.05
ALLOWANCE = 2**255
# What an estimate misses when the state moves on: a settlement that pays for the first time
# (two transfers to new holders) and a matching that walks further.
SPARE_GAS = 250_000
# What a person can do about it, by the contract's reason.
HINTS = {
    "no provider": "nobody offers this type at that price or less with stake left for one more job;"
    " `oyster-provider offers list` has your price, `capacity` your room",
    "too early to report": "a start may be reported after JobBootstrapping, a started job after"
    " JobStartup; try again later",
    "job is over": "`devnet job show JOB` says why",
    "already reported": "one vote an auditor an assignment",
    "no such job": "the first job is number 1",
}


def new_person(name: str, directory: Path) -> Person:
    """An account with a new key in `<directory>/<name>.key` (0600)."""
    account: LocalAccount = Account.create()
    path = directory / f"{name}.key"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"0x{bytes(account.key).hex()}\n")
    return Person(name=name, address=account.address, key_file=str(path))


def account_of(person: Person) -> LocalAccount:
    """The account whose key lies in the person's key file."""
    account: LocalAccount = Account.from_key(Path(person.key_file).read_text().strip())
    return account


def connect(rpc_url: str) -> Web3:
    """A plain connection to the devnet's node."""
    return Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": 30}))


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """web3's exceptions as ours; a revert carries the contract's reason."""
    try:
        yield
    except ContractLogicError as error:
        reason = str(error.message).removeprefix("execution reverted: ")
        hint = f" ({HINTS[reason]})" if reason in HINTS else ""
        raise Refused(f"{what} is refused by the contract: {reason}{hint}") from error
    except Web3Exception as error:
        raise RetryLater(f"{what} did not go through: {error}") from error
    except RequestException as error:
        raise RetryLater(
            f"the devnet's chain does not answer ({type(error).__name__}); is the devnet up?"
        ) from error


@dataclass(frozen=True)
class Market:
    """The deployed contracts over one connection."""

    w3: Web3
    devnet: Devnet

    @cached_property
    def registry(self) -> Contract:
        return self._contract(contracts.REGISTRY, self.devnet.registry)

    @cached_property
    def marketv1(self) -> Contract:
        """Its answers have no names, so that they stay plain tuples."""
        where = Web3.to_checksum_address(self.devnet.registry)
        return self.w3.eth.contract(address=where, abi=contracts.abi(contracts.MARKETV1))

    @cached_property
    def pond(self) -> Contract:
        return self._contract(contracts.TEST_TOKEN, self.devnet.pond)

    @cached_property
    def payment_token(self) -> Contract:
        return self._contract(contracts.TEST_TOKEN, self.devnet.payment_token)

    def _contract(self, name: str, address: str) -> Contract:
        where = Web3.to_checksum_address(address)
        return self.w3.eth.contract(address=where, abi=contracts.abi(name), decode_tuples=True)

    def job(self, job_id: int) -> dict[str, Any]:
        """The job's stored fields by name. Raises Refused: there is no such job."""
        with _faults(f"job {job_id}"):
            return dict(self.registry.functions.job(job_id).call()._asdict())

    def wait_for(self, job_id: int, state: str, seconds: float) -> None:
        """Until the contract stores this state. Raises RetryLater: it does not in `seconds`."""
        wanted = {"running": 2, "exiting": 3, "stopped": 4}.get(state)
        if wanted is None:
            raise UsageFault(f"--until {state}: there are running, exiting and stopped")
        until = time.monotonic() + seconds
        while self.job(job_id)["status"] != wanted:
            if time.monotonic() >= until:
                raise RetryLater(f"job {job_id} is not {state} after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def send(self, person: Person, call: ContractFunction) -> TxReceipt:
        """Sign, send, wait until it is in a block. Raises Refused on a revert, RetryLater."""
        with _faults(f"{person.name}'s {call.fn_name}"):
            return self._send(person, call)

    def _send(self, person: Person, call: ContractFunction) -> TxReceipt:
        account = account_of(person)
        eth = self.w3.eth
        sender: TxParams = {"from": account.address}
        transaction: dict[str, Any] = dict(
            call.build_transaction(
                {
                    **sender,
                    "nonce": eth.get_transaction_count(account.address, "pending"),
                    "gas": call.estimate_gas(sender) + SPARE_GAS,
                    "maxFeePerGas": Wei(100 * 10**9),
                    "maxPriorityFeePerGas": Wei(10**9),
                    "chainId": self.devnet.chain_id,
                }
            )
        )
        digest = eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
        receipt = eth.wait_for_transaction_receipt(digest, SECONDS_TO_INCLUDE, POLL_SECONDS)
        if receipt["status"] != 1:
            raise Refused(
                f"{person.name}'s {call.fn_name} reverted in block {receipt['blockNumber']}"
            )
        return receipt

    def send_all(
        self, person: Person, calls: Sequence[ContractFunction], gas: int
    ) -> list[TxReceipt]:
        """All at once, so that they share few blocks; none is waited for before all are sent.

        `gas` is the limit of each: one that depends on the one before can't be estimated. Raises
        Refused on a revert, RetryLater.
        """
        eth, address = self.w3.eth, account_of(person).address
        first = eth.get_transaction_count(address, "pending")
        with _faults(f"{len(calls)} transactions of {person.name}"):
            digests = [
                self._hand_in(person, call, first + number, gas)
                for number, call in enumerate(calls)
            ]
            receipts = [
                eth.wait_for_transaction_receipt(one, SECONDS_TO_INCLUDE, POLL_SECONDS)
                for one in digests
            ]
        if any(receipt["status"] != 1 for receipt in receipts):
            raise Refused(f"one of {person.name}'s {len(calls)} transactions reverted")
        return receipts

    def _hand_in(self, person: Person, call: ContractFunction, nonce: int, gas: int) -> HexBytes:
        account = account_of(person)
        terms: TxParams = {
            "from": account.address,
            "nonce": Nonce(nonce),
            "gas": gas,
            "maxFeePerGas": Wei(100 * 10**9),
            "maxPriorityFeePerGas": Wei(10**9),
            "chainId": self.devnet.chain_id,
        }
        transaction: dict[str, Any] = dict(call.build_transaction(terms))
        return self.w3.eth.send_raw_transaction(
            account.sign_transaction(transaction).raw_transaction
        )


@dataclass(frozen=True)
class Actions:
    """The people's doings, each one transaction or two; amounts in base units."""

    market: Market

    def allow(self, person: Person) -> None:
        """Let the registry take this person's POND and payment tokens."""
        registry = self.market.registry.address
        for token in (self.market.pond, self.market.payment_token):
            self.market.send(person, token.functions.approve(registry, ALLOWANCE))

    def mint(self, by: Person, to: Person, *, pond: int = 0, money: int = 0) -> None:
        """Test tokens from nothing."""
        if pond:
            self.market.send(by, self.market.pond.functions.mint(to.address, pond))
        if money:
            self.market.send(by, self.market.payment_token.functions.mint(to.address, money))

    def offer(self, person: Person, instance_type: str, raw_price: int, stake: int) -> None:
        """Stake and list, as a provider by hand; raw_price in base units x 10^12 per second."""
        functions = self.market.registry.functions
        self.market.send(person, functions.stake(stake))
        self.market.send(person, functions.register(instance_type, raw_price))

    def request_job(
        self, user: Person, instance_type: str, max_price: int, url: str, deposit: int
    ) -> int:
        """The id of the new job."""
        call = self.market.registry.functions.requestJob(instance_type, max_price, url, deposit)
        event: ContractEvent = self.market.registry.events.JobRequested()
        receipt = self.market.send(user, call)
        mine = [log for log in receipt["logs"] if log["topics"][0] == _topic(event)]
        job_id: int = event.process_log(mine[0])["args"]["jobId"]
        return job_id

    def stop_job(self, user: Person, job_id: int) -> None:
        self.market.send(user, self.market.registry.functions.requestToStopJob(job_id))

    def fund_job(self, anyone: Person, job_id: int, amount: int) -> None:
        self.market.send(anyone, self.market.registry.functions.addFunds(job_id, amount))

    def report_fault(self, auditor: Person, job_id: int) -> int:
        """One auditor's vote against the present assignment; its generation."""
        generation: int = self.market.job(job_id)["generation"]
        self.market.send(auditor, self.market.registry.functions.reportFault(job_id, generation))
        return generation


def _topic(event: ContractEvent) -> bytes:
    topic: bytes = Web3.keccak(text=event.signature)
    return topic
