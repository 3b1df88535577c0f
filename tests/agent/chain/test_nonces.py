"""A nonce that another process takes first: hosts and terminals send at once."""

from __future__ import annotations

import pytest

from agent.aside import at_once
from agent.chain.encoding import Fees
from agent.chain.transaction_log import FASTER_MOST, Attempt, Taken, TransactionLog, TxRecord
from agent.market.model import Address, Wei
from tests.agent.chain.memory_log import MemoryLog

pytestmark = pytest.mark.unit


def record(key: str, nonce: int) -> TxRecord:
    attempt = Attempt(f"0x{key}{nonce}", "0x", Fees(Wei(1), Wei(1)), 0.0)
    to = Address("0x" + "11" * 20)
    return TxRecord(key, 1, None, "unstake(1)", to, b"", nonce, 21_000, 0.0, (attempt,))


@pytest.mark.parametrize("faster", [0, 1, 3, FASTER_MOST - 1, FASTER_MOST])
async def test_nonce__that_others_take_first__is_the_next_one(faster: int) -> None:
    store = MemoryLog()
    log, others = TransactionLog(store, at_once), iter(range(faster))

    async def signed(nonce: int) -> TxRecord:
        for other in others:  # between this one's look at the log and its record
            store.add(record(f"other{other}", nonce))
            break
        return record("mine", nonce)

    if faster < FASTER_MOST:
        assert (await log.add_numbered(5, signed)).nonce == 5 + faster
    else:
        with pytest.raises(Taken, match="waits"):
            await log.add_numbered(5, signed)
    nonces = store.nonces(0)
    assert len(set(nonces)) == len(nonces) == min(faster + 1, FASTER_MOST)
