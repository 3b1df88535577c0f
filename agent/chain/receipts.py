"""A receipt is a node's word: what it says of a transaction of ours, within what we signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.chain.answers import Json
from agent.chain.endpoints import Endpoints
from agent.chain.rpc import MOST_INTEGER, NodeRefused, Rpc, integer
from agent.chain.transaction_log import Attempt, TxRecord
from agent.market.model import Wei
from enclave.shown import shown

MOST_BLOCKS = 2**48


@dataclass(frozen=True, slots=True)
class Receipt:
    """`fee` is at most what was signed, in wei; `beyond` is what a rollup adds for its parent
    chain (`l1Fee`), which nobody signs."""

    block: int
    worked: bool
    fee: Wei
    beyond: Wei
    bounded: bool  # it said that more was paid than can have been


def receipt_of(answer: Json, attempt: Attempt, gas: int) -> Receipt:
    """Of one attempt with this gas limit. Raises NodeRefused: no receipt, or of another one."""
    if not isinstance(answer, dict):
        raise NodeRefused("a node answers no receipt where there should be one")
    named = answer.get("transactionHash", attempt.hash)
    if not isinstance(named, str) or named.lower() != attempt.hash.lower():
        raise NodeRefused("a node answers another transaction's receipt")
    used, most_price = _told(answer, "gasUsed"), int(attempt.fees.max_fee)
    said = answer.get("effectiveGasPrice")  # of before EIP-1559: none, all that was bid is paid
    price = most_price if said is None else _told(answer, "effectiveGasPrice")
    return Receipt(
        block=_told(answer, "blockNumber", MOST_BLOCKS),
        worked=_told(answer, "status", 1) == 1,
        fee=Wei(min(used, gas) * min(price, most_price)),
        beyond=Wei(_told(answer, "l1Fee") if answer.get("l1Fee") else 0),
        bounded=used > gas or price > most_price,
    )


def _told(receipt: Mapping[str, Json], name: str, most: int = MOST_INTEGER) -> int:
    """A number of it. Raises NodeRefused, with its name: it is none."""
    said = receipt.get(name)
    try:
        return integer(said, most)
    except NodeRefused:
        text = f"a node answers a receipt whose {name} is {shown(repr(said), 40)}"
        raise NodeRefused(f"{text}, which is no number that it can be") from None


async def parent_fee(endpoints: Endpoints, record: TxRecord, receipt: Receipt, cap: Wei) -> int:
    """What a rollup took beyond what was signed, wei. More than that is asked of a second endpoint,
    and is never more than the operator allows (`cap`, wei a gas) for so much gas."""
    if receipt.beyond <= record.worst_fee:
        return receipt.beyond

    async def one(rpc: Rpc) -> int:
        for each in record.attempts:
            answer = await rpc.call("eth_getTransactionReceipt", each.hash)
            if isinstance(answer, dict):
                return integer(answer.get("l1Fee") or "0x0")
        return 0

    return min([receipt.beyond, record.gas * cap, *await endpoints.voices(one)])
