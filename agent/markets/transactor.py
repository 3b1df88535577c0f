"""One order of the agent as one transaction, watched until it is in a block."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from agent import ports
from agent.chain.transactions import Call, Confirmed, Reverted, Transactions, Waiting
from agent.clock import passed
from faults import Refused, RetryLater

FOLLOW_SECONDS = 1.0  # between two looks at what is in flight
# Nothing presses a settlement, and thousands can fall due at once: what is in flight fits one
# exchange, and a report or an exit finds the nonces and the loop free.
SETTLEMENTS_AT_ONCE = 50


class OrderCalls(Protocol):
    """A market's calls."""

    def of(self, order: ports.Order) -> Call:
        """What an order calls. Raises UsageFault: the market has no such call, or it lacks what
        the call takes."""
        ...


class NoTransactor:
    """`ports.Transactor` of an agent without a key: it sends nothing. Decisions know, and order
    nothing (`EndingRules.signs`); what is ordered all the same is refused."""

    async def carry_out(
        self, order: ports.Order, wanted: ports.Wanted = ports.always
    ) -> ports.Mined:
        raise Refused(f"{order.call} is not sent: [wallet] names no key")


class MarketTransactor:
    """`ports.Transactor` over Transactions: waits for a block, and keeps all in flight moving."""

    def __init__(self, transactions: Transactions, calls: OrderCalls, clock: ports.Clock) -> None:
        self._transactions = transactions
        self._calls = calls
        self._clock = clock
        self._looked_at = 0.0
        self._looking = False
        self._looks = 0  # that ended
        self._settling = asyncio.Semaphore(SETTLEMENTS_AT_ONCE)

    async def carry_out(
        self, order: ports.Order, wanted: ports.Wanted = ports.always
    ) -> ports.Mined:
        if order.call is not ports.Call.SETTLE:
            return await self._carry_out(order, wanted)
        async with self._settling:
            return await self._carry_out(order, wanted)

    async def _carry_out(self, order: ports.Order, wanted: ports.Wanted) -> ports.Mined:
        call, key = replace(self._calls.of(order), wanted=wanted), order.key
        while True:
            state = await self._transactions.submit(call, key=key, job=order.job, as_of=order.as_of)
            key = state.key
            if isinstance(state, Confirmed):
                return ports.Mined(state.tx_hash, state.block, state.fee)
            if isinstance(state, Reverted):
                raise Refused(f"{call.label} reverts: {state.reason}")
            if isinstance(state, Waiting):
                after = state.retry_at - self._clock.now()
                raise RetryLater(f"{call.label} waits: {state.message}", after_seconds=after)
            await self._look()
            if await self._transactions.came_to_nothing(key):
                # A fork may have made the job another one: whoever ordered this decides anew.
                text = f"{call.label} changed nothing in its block; it may be ordered again"
                raise RetryLater(text, after_seconds=0.0)

    async def _look(self) -> None:
        """Returns after the next look, which serves all that wait, however long it takes: what is
        known of each is in the journal, and asked there no more often than it can change."""
        before = self._looks
        while self._looks == before:
            if self._looking or not passed(self._clock.now(), self._looked_at, FOLLOW_SECONDS):
                await self._clock.sleep(FOLLOW_SECONDS / 4)
            else:
                await self._pump()

    async def _pump(self) -> None:
        self._looking, self._looked_at = True, self._clock.now()
        try:
            await self._transactions.pump()
        finally:
            self._looking, self._looks = False, self._looks + 1
