"""What is on its way costs the journal and the nodes one look at a time, however many wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from agent import ports
from agent.chain.transactions import Confirmed, Pending, TxState
from agent.market.model import JobId, Wei
from agent.markets.registry.calls import Calls
from agent.markets.transactor import FOLLOW_SECONDS, MarketTransactor
from devnet.simulation.loop import VirtualClock, current, run
from devnet.simulation.names import REGISTRY

pytestmark = pytest.mark.unit

BLOCKS_AFTER = 6  # looks until a block has all of them


class Slow:
    """`Transactions` of which each look takes a while; counts how often each key is asked for."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock, self.looks, self.asked = clock, 0, Counter[str]()

    async def submit(self, call: object, *, key: str, **_: object) -> TxState:
        self.asked[key] += 1
        done = self.looks >= BLOCKS_AFTER
        return Confirmed(key, "0x1", 7, Wei(1), final=False) if done else Pending(key)

    async def came_to_nothing(self, key: str) -> bool:
        return False

    async def pump(self) -> None:
        await self._clock.sleep(FOLLOW_SECONDS / 2)
        self.looks += 1


async def _carry_out_some() -> Any:
    clock = VirtualClock(current())
    sending: Any = Slow(clock)
    sender = MarketTransactor(sending, Calls(REGISTRY), clock)
    orders = [ports.Order(f"s{n}", ports.Call.SETTLE, JobId(n)) for n in range(1, 21)]
    mined = await asyncio.gather(*map(sender.carry_out, orders))
    assert {one.block for one in mined} == {7}
    return sending


@pytest.mark.usefixtures("quiet")
def test_order__that_waits_for_its_block__is_asked_for_once_a_look() -> None:
    sending = run(_carry_out_some())
    assert sending.looks == BLOCKS_AFTER
    assert set(sending.asked.values()) == {BLOCKS_AFTER + 1}
