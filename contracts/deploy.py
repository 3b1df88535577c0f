"""Deploys a market: the registry, and mintable test tokens where none is named.

Speaks plain JSON-RPC through web3, signs here, and needs nothing of the node but that it takes
raw transactions. What goes wrong leaves as a fault; an RPC URL never stands in its text.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from eth_abi.abi import decode
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception
from web3.types import Wei

import contracts
from faults import Refused, RetryLater

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eth_account.signers.local import LocalAccount
    from eth_typing import ChecksumAddress
    from web3.contract.contract import ContractConstructor
    from web3.types import TxParams, TxReceipt

# The estimate is of the state as it is now; a tenth more covers what may change until inclusion.
GAS_MARGIN = 1.1
# The constructor takes no longer list.
MAX_AUDITORS = 64
# The selector of Error(string), which `assert condition, "reason"` reverts with.
ERROR_STRING = "0x08c379a0"
POND = ("Test POND", "tPOND", 18)
PAYMENT_TOKEN = ("Test USD", "tUSD", 6)


@dataclass(frozen=True)
class Params:
    """The parameters of the protocol, in the constructor's order."""

    stake_per_job: int
    """POND base units locked for a job."""
    job_bootstrapping: int
    """Seconds from assignment within which an instance must be up."""
    job_startup: int
    """Seconds from assignment after which a started job may be reported."""
    job_exit_cool_down: int
    """Seconds a provider serves on after it asked to exit."""
    quorum: int
    """Auditors whose reports slash an assignment."""


@dataclass(frozen=True)
class Deployment:
    """Where a market is; `block` is the registry's first one."""

    chain_id: int
    registry: ChecksumAddress
    pond: ChecksumAddress
    payment_token: ChecksumAddress
    block: int


def deploy(
    w3: Web3,
    account: LocalAccount,
    params: Params,
    auditors: Sequence[ChecksumAddress],
    *,
    pond: ChecksumAddress | None = None,
    payment_token: ChecksumAddress | None = None,
    timeout_seconds: float = 120,
) -> Deployment:
    """Send up to three deployments, each after the last is in a block.

    Raises Refused when the chain says no (the constructor's reason, no funds) and RetryLater when
    the node does not answer or a transaction is in no block after `timeout_seconds`; what was
    deployed before a RetryLater stays, unused.
    """
    check_auditors(auditors)
    sender = _Sender(w3, account, timeout_seconds)
    with _as_faults(sender):
        pond = pond or sender.create(contracts.TEST_TOKEN, *POND)[0]
        payment_token = payment_token or sender.create(contracts.TEST_TOKEN, *PAYMENT_TOKEN)[0]
        terms = (pond, payment_token, astuple(params), list(auditors))
        registry, block = sender.create(contracts.REGISTRY, *terms)
        return Deployment(w3.eth.chain_id, registry, pond, payment_token, block)


@dataclass(frozen=True)
class MarketV1Deployment:
    """Where a MarketV1 is; `block` is its first one."""

    chain_id: int
    market: ChecksumAddress
    payment_token: ChecksumAddress
    block: int


def deploy_marketv1(
    w3: Web3,
    account: LocalAccount,
    *,
    rate_lock_seconds: int = 300,
    payment_token: ChecksumAddress | None = None,
    timeout_seconds: float = 120,
) -> MarketV1Deployment:
    """The other market, and a mintable test token where none is named. Raises as `deploy`."""
    sender = _Sender(w3, account, timeout_seconds)
    with _as_faults(sender):
        payment_token = payment_token or sender.create(contracts.TEST_TOKEN, *PAYMENT_TOKEN)[0]
        market, block = sender.create(contracts.MARKETV1, payment_token, rate_lock_seconds)
        return MarketV1Deployment(w3.eth.chain_id, market, payment_token, block)


@contextmanager
def _as_faults(sender: _Sender) -> Iterator[None]:
    """What a chain says to a deployment, by what to do about it."""
    try:
        yield
    except ContractLogicError as error:
        raise Refused(f"the contract can't be deployed so: {_reason(error)}") from error
    except TimeExhausted as error:
        raise RetryLater(
            f"a deployment was in no block after {sender.timeout_seconds:.0f} s; see what became "
            f"of the transactions of {sender.account.address} before you deploy again"
        ) from error
    except Web3Exception as error:
        raise Refused(f"the node refused: {error}") from error
    except RequestException as error:
        raise RetryLater(f"the node does not answer ({type(error).__name__})") from error


def check_auditors(auditors: Sequence[ChecksumAddress]) -> None:
    """Raises Refused: more than the constructor takes."""
    if len(auditors) > MAX_AUDITORS:
        raise Refused(f"{len(auditors)} auditors are more than the {MAX_AUDITORS} it takes")


@dataclass(frozen=True)
class Rehearsal:
    """What a deployment would send. `gas` is counted from the code's size, without what the
    constructors store: the real thing takes some percent more."""

    chain_id: int
    payer: ChecksumAddress
    balance_wei: int
    contracts: tuple[str, ...]
    gas: int
    cost_wei: int


def rehearse(w3: Web3, account: LocalAccount, *, tokens: int) -> Rehearsal:
    """What `deploy` would create with this many test tokens, and its cost at the present fee.

    Sends nothing. Raises Refused and RetryLater as `deploy` does.
    """
    names = (*(contracts.TEST_TOKEN,) * tokens, contracts.REGISTRY)
    gas = sum(_gas(contracts.bytecode(name)) for name in names)
    try:
        return Rehearsal(
            w3.eth.chain_id, account.address, w3.eth.get_balance(account.address), names,
            gas, gas * _price(w3),
        )  # fmt: skip
    except Web3Exception as error:
        raise Refused(f"the node refused: {error}") from error
    except RequestException as error:
        raise RetryLater(f"the node does not answer ({type(error).__name__})") from error


def _base_fee(w3: Web3) -> int | None:
    return w3.eth.get_block("latest").get("baseFeePerGas")


def _price(w3: Web3) -> int:
    """What a unit of gas costs now, wei."""
    base = _base_fee(w3)
    return w3.eth.gas_price if base is None else base + w3.eth.max_priority_fee


def _gas(bytecode: str) -> int:
    """Yellow paper, appendix G: a create, 16 a byte sent, 200 a byte kept."""
    size = len(bytecode.removeprefix("0x")) // 2
    return 21_000 + 32_000 + (16 + 200) * size


def _reason(error: ContractLogicError) -> str:
    """The contract's own words: some nodes put them in the message, all in the data."""
    data = str(error.data or "")
    if not data.startswith(ERROR_STRING):
        return str(error.message)
    (reason,) = decode(["string"], bytes.fromhex(data.removeprefix(ERROR_STRING)))
    return str(reason)


@dataclass(frozen=True)
class _Sender:
    w3: Web3
    account: LocalAccount
    timeout_seconds: float

    def create(self, name: str, *args: object) -> tuple[ChecksumAddress, int]:
        """The address of a new contract and the block that it is in."""
        artifact: dict[str, Any] = {
            "abi": contracts.abi(name),
            "bytecode": contracts.bytecode(name),
        }
        receipt = self._send(self.w3.eth.contract(**artifact).constructor(*args))
        address = receipt["contractAddress"]
        if receipt["status"] != 1 or address is None:
            raise Refused(f"the deployment of {name} failed in block {receipt['blockNumber']}")
        return address, receipt["blockNumber"]

    def _send(self, call: ContractConstructor) -> TxReceipt:
        eth = self.w3.eth
        sender = self.account.address
        gas = int(call.estimate_gas({"from": sender}) * GAS_MARGIN)
        transaction: TxParams = {
            "from": sender,
            "chainId": eth.chain_id,
            "nonce": eth.get_transaction_count(sender, "pending"),
            "gas": gas,
            **self._fees(),
        }
        signed = self.account.sign_transaction(call.build_transaction(transaction))
        digest = eth.send_raw_transaction(signed.raw_transaction)
        return eth.wait_for_transaction_receipt(digest, timeout=self.timeout_seconds)

    def _fees(self) -> TxParams:
        """Twice the base fee lasts through six full blocks; chains before EIP-1559 have none."""
        base = _base_fee(self.w3)
        if base is None:
            return {"gasPrice": self.w3.eth.gas_price}
        tip = self.w3.eth.max_priority_fee
        return {"maxFeePerGas": Wei(2 * base + tip), "maxPriorityFeePerGas": tip}
