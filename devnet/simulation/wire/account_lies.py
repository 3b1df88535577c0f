"""What a lying node of a wire storm says of the provider's account: fees, nonces, receipts, gas.

The jobs' lies are `devnet.simulation.opinions`; here is what only JSON-RPC tells. As there, a lie
is told of what is true and never changes it.
"""

from __future__ import annotations

from agent.chain.rpc import Json
from devnet.simulation.opinions import Lie
from devnet.simulation.wire.chain import GWEI, Attempt, WireChain

ABSURD = 1 << 200  # wei
HIGH_NONCE = 10**9
HIGH_GAS, LOW_GAS = 1 << 31, 21_000
PLAUSIBLE = 150 * GWEI  # below what the agent bids at most
RICH = 10**21  # wei


def nonce(lie: Lie | None, true: int) -> int:
    """Transactions of the account in blocks."""
    return {Lie.COUNT_HIGH: HIGH_NONCE, Lie.COUNT_LOW: 0}.get(lie, true) if lie else true


def balance(lie: Lie | None) -> int:
    """Wei."""
    return 0 if lie is Lie.BROKE else RICH


def base_fee(lie: Lie | None, true: int) -> int:
    """Wei a gas that a block takes."""
    if lie is Lie.DEAR:
        return ABSURD
    return {Lie.RATHER_DEAR: PLAUSIBLE, Lie.CHEAP: 0}.get(lie, true) if lie else true


def tip(lie: Lie | None, true: int) -> int:
    """Wei a gas for who makes the block."""
    return base_fee(lie, true)


def gas(lie: Lie | None, true: int) -> int:
    """What a call takes."""
    return {Lie.GAS_HIGH: HIGH_GAS, Lie.GAS_LOW: LOW_GAS}.get(lie, true) if lie else true


def invents_receipt(lie: Lie | None, attempt: Attempt | None) -> bool:
    """Whether it says of what waits that it is done."""
    return lie is Lie.IN_A_BLOCK and attempt is not None and attempt.tx.block is None


def receipt(lie: Lie | None, true: Json) -> Json:
    """Of what is in a block."""
    if lie is Lie.NO_RECEIPT:
        return None
    if lie is Lie.PAID:
        return {**true, "effectiveGasPrice": hex(ABSURD), "gasUsed": hex(ABSURD)}
    return {**true, "status": "0x0"} if lie is Lie.FAILED else true


def invented(chain: WireChain, tx_hash: str, gas_used: int) -> Json:
    """A receipt of a transaction that is in no block, in one that no fork takes back."""
    return {
        "transactionHash": tx_hash, "blockNumber": hex(chain.final.ref.number),
        "gasUsed": hex(gas_used), "status": "0x1", "effectiveGasPrice": hex(GWEI),
    }  # fmt: skip
