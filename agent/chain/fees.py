"""What a transaction may cost: EIP-1559 fees under a cap, and gas budgets per job and per day.

Where blocks have no base fee (a chain before EIP-1559, such as Ethereum Classic) the same two
numbers are alike, and are the gas price of a transaction in the old form.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.chain.encoding import Fees
from agent.chain.rpc import NodeRefused, Reader, Request, integer
from agent.market.model import Wei
from faults import Refused, TryElsewhere

GWEI = 10**9
BASE_FEE_ROOM = 2  # a full block raises the base fee by 1/8: six of them in a row fit
# What tells a tip, and how many times the base fee is in it. Every node has the second; without a
# tip, chains that ask for one (Polygon: 25 gwei) take nothing.
TIP_METHODS = {"eth_maxPriorityFeePerGas": 0, "eth_gasPrice": 1}
BUMP_PERCENT = 25  # nodes want 10 % on both fees for a replacement; more gets there sooner


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """Limits in wei. What is below costs nothing extra: only what the block asks is paid."""

    cap_per_gas: Wei = Wei(200 * GWEI)  # noqa: RUF009 - NewType is no call at run time
    least_tip: Wei = Wei(GWEI // 100)  # noqa: RUF009 - as above
    per_job: Wei = Wei(10**16)  # noqa: RUF009 - 0.01 of the chain's coin, all sends of a job
    per_day: Wei = Wei(10**17)  # noqa: RUF009 - 0.1 of it, all transactions of 24 hours


@dataclass(frozen=True, slots=True)
class Asked:
    """What one node says that a block asks for a gas, in wei. `base_fee`: None, blocks have none.
    `tip`: None, it does not know."""

    base_fee: int | None
    tip: int | None


def fees_now(base_fee: int, node_tip: int, policy: FeePolicy) -> Fees | None:
    """Fees for the next blocks; None while even the base fee with the least tip is over the cap."""
    if base_fee + policy.least_tip > policy.cap_per_gas:
        return None
    tip = max(policy.least_tip, min(node_tip, policy.cap_per_gas - base_fee))
    return Fees(Wei(min(policy.cap_per_gas, BASE_FEE_ROOM * base_fee + tip)), Wei(tip))


def raised(
    old: Fees, market: Fees | None, policy: FeePolicy, percent: int = BUMP_PERCENT
) -> Fees | None:
    """Fees that nodes take in place of `old`; None when the cap leaves no room for a raise."""
    wanted = Fees(_bumped(old.max_fee, percent), _bumped(old.tip, percent))
    if market is not None:
        wanted = Fees(max(wanted.max_fee, market.max_fee), max(wanted.tip, market.tip))
    max_fee = Wei(min(policy.cap_per_gas, wanted.max_fee))
    tip = Wei(min(max_fee, wanted.tip))
    enough = all(10 * new >= 11 * was for new, was in ((max_fee, old.max_fee), (tip, old.tip)))
    return Fees(max_fee, tip) if enough else None


def _bumped(fee: Wei, percent: int) -> Wei:
    return Wei(fee * (100 + percent) // 100 + 1)


async def market_fees(reader: Reader, policy: FeePolicy) -> Fees | None:
    """What the next block would take, by one node. Raises RetryLater or TryElsewhere."""
    return fees_asked(await asked_by(reader), policy)


def fees_asked(told: Asked, policy: FeePolicy) -> Fees | None:
    """What the next block would take, where this is what it asks; None: it is over the cap."""
    return fees_now(told.base_fee or 0, policy.least_tip if told.tip is None else told.tip, policy)


async def asked_by(reader: Reader) -> Asked:
    """By a node. Where there is no base fee, the tip is all of its gas price. Raises RetryLater or
    TryElsewhere."""
    block = (await reader.batch([Request("eth_getBlockByNumber", ("latest", False))]))[0]
    if not isinstance(block, dict):
        raise NodeRefused("a node answers no block where the newest should be")
    told = block.get("baseFeePerGas")
    base_fee = None if told is None else integer(told)
    return Asked(base_fee, await _tip(reader, base_fee))


async def _tip(reader: Reader, base_fee: int | None) -> int | None:
    for method, counted_in in TIP_METHODS.items():
        if base_fee is None and not counted_in:
            continue
        try:
            told = integer(await reader.call(method))
        except (TryElsewhere, Refused):
            continue  # not every node has it
        return max(0, told - (base_fee or 0) * counted_in)
    return None
