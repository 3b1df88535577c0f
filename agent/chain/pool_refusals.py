"""What a node means that takes a transaction into no pool: its price, its gas limit, or that it is
there. Pure.

What no node takes is in no pool: it costs nothing to send it dearer at once, and waiting for a
block that it can't get into costs the time that a report has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from faults import TryElsewhere

# Words, and who says them where nothing is said: clients' own sources and reports of theirs.
_ROWS = (
    # geth, bor, erigon, reth, nitro: "transaction underpriced", "replacement transaction
    # underpriced", "transaction underpriced: gas tip cap 1, minimum needed 25000000000"
    r"underpriced",
    # geth, nitro: "max fee per gas less than block base fee"; besu: "gasPrice is less than the
    # current BaseFee"; erigon: "fee cap less than block base fee"
    r"(?:less|lower) than (?:the )?(?:current )?(?:block )?base ?fee",
    r"fee ?too ?low",  # nethermind: FeeTooLow, FeeTooLowToCompete; openethereum
    r"gas ?price (?:is )?(?:too low|below)",  # besu: Gas price below configured minimum gas price
    r"below (?:the )?(?:configured )?minimum",  # besu: priority fee below the minimum; linea
    r"insufficient (?:fee|gas ?price)",  # evmos, cronos: insufficient fee; rsk
    r"(?:tx|transaction) ?pool (?:is )?full|pool limit",  # the dearest stay: geth, besu, substrate
    r"max fee per gas .{0,40}(?:too low|lower than)|maxfeepergas .{0,40}(?:too low|lower)",
)
TOO_CHEAP = re.compile("|".join(_ROWS), re.IGNORECASE)
# What a call takes before its first step grew beyond the limit: rollups count the bytes at their
# parent chain's price (nitro: a spike of blob gas), and no price of a gas makes up for it.
_LITTLE_GAS_ROWS = (
    # geth, nitro, erigon, reth: "intrinsic gas too low: gas 100000, minimum needed 180000";
    # besu: "intrinsic gas exceeds gas limit"; "gas limit below intrinsic gas"; EIP-7623's floor
    r"intrinsic ?gas|intrinsic_gas|floor (?:data )?gas",
    r"gas ?limit ?(?:is )?too ?low",  # nethermind: GasLimitTooLow
    r"transaction gas is too low|requires at least \d+ gas",  # openethereum
)
LITTLE_GAS = re.compile("|".join(_LITTLE_GAS_ROWS), re.IGNORECASE)
# No refusal at all: the very same is in its pool.
_THERE_ROWS = (
    # geth, reth: "already known"; anvil: "transaction already imported"; frontier, erigon
    r"already[ _]?(?:known|imported|exists|in (?:the )?(?:mem)?pool)",
    r"\bknown transaction",  # geth before 1.10, besu, openethereum
    r"tx already in (?:cache|mempool)",  # cometbft: evmos, cronos
)
THERE = re.compile("|".join(_THERE_ROWS), re.IGNORECASE)


def are_too_cheap(refusals: Sequence[TryElsewhere]) -> bool:
    """Whether one of these says that more has to be bid."""
    return any(TOO_CHEAP.search(str(each)) for each in refusals)


def are_of_little_gas(refusals: Sequence[TryElsewhere]) -> bool:
    """Whether one of these says that its gas limit has to be higher."""
    return any(LITTLE_GAS.search(str(each)) for each in refusals)


def are_of_what_is_there(refusals: Sequence[TryElsewhere]) -> bool:
    """Whether one of these says that it has that transaction."""
    return any(THERE.search(str(each)) for each in refusals)
