"""What clients, rollups and gateways say, row by row: reverts, limits, and prices that are too low.

Each sentence is one that a client's source or its users' reports have; beside those that mean it
are those that sound alike and mean something else.
"""

from __future__ import annotations

from typing import Any

import pytest

from agent.chain.answers import Error, of_batch, of_one
from agent.chain.pool_refusals import are_too_cheap
from agent.chain.rpc import NodeRefused

pytestmark = pytest.mark.unit

Json = Any
WHY = "0x08c379a0" + f"{32:064x}" + f"{4:064x}" + b"gone".hex().ljust(64, "0")

REVERTS: dict[str, Json] = {
    "geth": {"code": 3, "message": "execution reverted: gone", "data": WHY},
    "geth, no reason": {"code": 3, "message": "execution reverted", "data": "0x"},
    "geth, old": {"code": -32000, "message": "execution reverted"},
    "erigon, data alone": {"code": 3, "message": "", "data": WHY},
    "besu": {"code": -32000, "message": "Execution reverted (gone)", "data": WHY},
    "nethermind": {"code": -32015, "message": "VM execution error.", "data": f"Reverted {WHY}"},
    "nethermind, no reason": {"code": -32015, "message": "VM execution error.", "data": "revert"},
    "openethereum": {"code": -32015, "message": "VM execution error.", "data": "Reverted 0x"},
    "rsk": {"code": -32015, "message": "VM Exception: transaction reverted, no reason"},
    "ganache": {
        "code": -32000, "message": "VM Exception while processing transaction: revert gone",
    },
    "hardhat": {
        "code": -32603, "data": {"message": "gone", "data": WHY},
        "message": "Error: VM Exception while processing transaction: reverted with reason 'gone'",
    },
    "evmos": {"code": -32000, "message": "rpc error: code = Unknown desc = execution reverted: x"},
    "kaia": {"code": -32000, "message": "evm: execution reverted"},
    "hedera": {"code": 3, "message": "[Request ID: 1] execution reverted: CONTRACT_REVERT"},
}  # fmt: skip
NO_REVERTS: dict[str, Json] = {
    "grpc's 3": {"code": 3, "message": "invalid argument: no upstream for this block"},
    "a gateway's third": {"code": 3, "message": "Temporary internal error. Please retry"},
    "with an id for data": {"code": 3, "message": "upstream failed", "data": "req-77af"},
    "nethermind, gas": {"code": -32015, "message": "VM execution error.", "data": "OutOfGas"},
    "openethereum": {"code": -32015, "message": "VM execution error.", "data": "Bad jump 0x1f"},
    "geth, gas": {"code": -32000, "message": "gas required exceeds allowance (0)"},
    "lagging": {"code": -32000, "message": "header not found"},
    "reverted head": {"code": -32000, "message": "block was reverted by a reorg"},
    "text": "execution pool is full",
}


@pytest.mark.parametrize("who", REVERTS)
def test_revert__in_the_words_of_each_client__is_the_contract_s(who: str) -> None:
    found = of_one({"jsonrpc": "2.0", "id": 1, "error": REVERTS[who]})
    assert isinstance(found, Error)
    assert found.is_revert


@pytest.mark.parametrize("who", NO_REVERTS)
def test_revert__a_node_s_own_trouble_under_the_same_code__is_none(who: str) -> None:
    found = of_one({"jsonrpc": "2.0", "id": 1, "error": NO_REVERTS[who]})
    assert isinstance(found, Error)
    assert not found.is_revert


@pytest.mark.parametrize("who", REVERTS)
@pytest.mark.parametrize("listed", [False, True])
def test_revert__one_for_a_whole_batch__is_no_answer_to_any_of_it(who: str, listed: bool) -> None:
    error = {"jsonrpc": "2.0", "id": None, "error": REVERTS[who]}
    told = of_batch([error] if listed else error, 3)
    assert [isinstance(each, Error) and not each.is_revert for each in told] == [True] * 3


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-32005, "project ID request rate exceeded"), (-32005, "daily request count exceeded"),
        (429, "Your app has exceeded its concurrent requests capacity"),
        (-32000, "Validation Service: Your plan: free-plan-daily total included usage"),
        (-32016, "over rate limit"), (-32001, "usage limit reached, upgrade your plan"),
        (-32000, "out of CU"), (-32603, "Too many connections"), (-32090, "Too Many Requests"),
        (-32005, "You've exceeded the RPS limit available on the current plan"),
    ],
)  # fmt: skip
def test_rate__in_the_words_of_each_service__is_waited_for(code: int, text: str) -> None:
    assert Error(code, text).is_rate


@pytest.mark.parametrize(
    "text",
    [
        "query returned more than 10000 results", "block range is too wide", "limit exceeded",
        "header not found", "already known", "exceeds block gas limit", "nonce too low",
    ],
)  # fmt: skip
def test_rate__another_limit__is_none(text: str) -> None:
    assert not Error(-32005, text).is_rate


@pytest.mark.parametrize(
    "text",
    [
        "transaction underpriced", "replacement transaction underpriced",
        "transaction underpriced: gas tip cap 1, minimum needed 25000000000",
        "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2",
        "fee cap less than block base fee: 1 < 2", "FeeTooLow, MaxFeePerGas too low",
        "FeeTooLowToCompete", "Gas price below configured minimum gas price",
        "gasPrice is less than the current BaseFee", "txpool is full", "Transaction pool full",
        "insufficient fee", "max priority fee per gas is below the minimum",
    ],
)  # fmt: skip
def test_pool__too_cheap_in_the_words_of_each_client__is_raised(text: str) -> None:
    assert are_too_cheap([NodeRefused("other"), NodeRefused(f"http://n refuses it: {text}")])


@pytest.mark.parametrize(
    "text",
    [
        "already known", "nonce too low", "nonce too high", "intrinsic gas too low",
        "insufficient funds for gas * price + value", "exceeds block gas limit",
        "max priority fee per gas higher than max fee per gas", "invalid sender", "internal error",
    ],
)  # fmt: skip
def test_pool__another_refusal__is_not_mended_by_money(text: str) -> None:
    assert not are_too_cheap([NodeRefused(text)])
