"""A devnet's node as one of a chain without base fees is: Ethereum Classic, Harmony."""

from __future__ import annotations

from typing import Any

import pytest

from devnet.chain.evm import Rejected
from devnet.chain.jsonrpc import Methods


def before_1559(methods: Methods, patch: pytest.MonkeyPatch) -> None:
    """Blocks have no base fee and receipts no price; the newer form of transactions is refused, in
    go-ethereum's words, and there is no tip to ask for."""
    true = methods.call

    def call(asked: str, params: list[Any]) -> Any:
        if asked == "eth_sendRawTransaction" and params[0].startswith("0x02"):
            raise Rejected(-32000, "transaction type not supported")
        if asked == "eth_maxPriorityFeePerGas":
            raise Rejected(-32601, f"the method {asked} does not exist/is not available")
        answer = true(asked, params)
        lacks = {"eth_getBlockByNumber": "baseFeePerGas"}
        lacks["eth_getTransactionReceipt"] = "effectiveGasPrice"
        if isinstance(answer, dict) and asked in lacks:
            answer = {name: each for name, each in answer.items() if name != lacks[asked]}
        return answer

    patch.setattr(methods, "call", call)
