"""What two nodes say that a call takes: gas, and what a block asks for it. Pure.

Each is one node's word, and each kind of lie keeps a report from being mined: too little, and it
waits or fails; too much, and it is beyond what the operator allows. So of two words the higher one
is bid as far as it is allowed, and what is paid to whoever makes the block is the lower one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.chain.encoding import Fees
from agent.chain.fees import Asked, FeePolicy, fees_now
from agent.market.model import Wei

ALIKE = 2  # times: two honest nodes that are a block apart do not differ by more


@dataclass(frozen=True, slots=True)
class Bid:
    """What may be signed for a call."""

    gas: int
    fees: Fees

    @property
    def worst(self) -> Wei:
        return Wei(self.gas * self.fees.max_fee)


def fees_of(told: Sequence[Asked], policy: FeePolicy) -> list[Fees]:
    """The fees to bid for, the highest first; empty: nobody tells of any below the cap."""
    tip = min((one.tip for one in told if one.tip is not None), default=int(policy.least_tip))
    found = {fees_now(one.base_fee or 0, tip, policy) for one in told}
    return sorted((fees for fees in found if fees), key=lambda fees: -fees.max_fee)


def is_old_form(told: Iterable[Asked]) -> bool:
    """Whether to sign in the form of before EIP-1559: where one says that blocks have no base fee.

    Every chain takes it, and at worst pays all that was bid; the newer one a chain without base
    fees never takes, whoever claims that there are some."""
    return any(one.base_fee is None for one in told)


def gas_of(told: Iterable[int]) -> list[int]:
    """The gas limits to try, the highest first: one, where nodes say much the same."""
    found = sorted(set(told), reverse=True)
    return found[:1] if found[0] <= ALIKE * found[-1] else found


def bids(gas: Sequence[int], fees: Sequence[Fees]) -> list[Bid]:
    """Every pair, the dearest first."""
    return sorted((Bid(one, each) for one in gas for each in fees), key=lambda bid: -bid.worst)
