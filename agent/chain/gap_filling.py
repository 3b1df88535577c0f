"""Nonces that nobody sends, below a transaction that waits for them: filled, or it is given up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from agent.chain.account import Account
from agent.chain.nonces import FILL_MOST, Gap, Gaps, is_ripe
from agent.chain.transaction_log import TransactionLog, TxStatus
from agent.chain.transaction_states import Call
from agent.ports import Clock

log = structlog.get_logger()


class GapFilling:
    """Of one account. `numbering` is held from reading a nonce to having recorded it."""

    def __init__(
        self, account: Account, record: TransactionLog, numbering: asyncio.Lock, clock: Clock
    ) -> None:
        self._account = account
        self._log = record
        self._numbering = numbering
        self._clock = clock
        self._gaps = Gaps()

    async def look(self, mined: int) -> None:
        """`mined` is the next nonce that a block takes. An open transaction above one that nobody
        sends waits for ever: a few below it are filled; for many it is given up, and its call sent
        under one that is free. Raises RetryLater, TryElsewhere and CallReverted."""
        unfinished = await self._log.unfinished()
        opened = [r.nonce for r in unfinished if r.status is TxStatus.OPEN]
        taken, now = await self._log.nonces(mined), self._clock.now()
        gap = self._gaps.look(mined, opened, taken, now)
        if gap is None:
            return
        if self._gaps.first_told(gap):
            log.warning("tx.waits_for_nonces", nonce=gap.below, missing=str(gap))
        if not is_ripe(gap, now) or await self._is_passed(gap):
            return
        if gap.size <= FILL_MOST:
            await self._fill(gap)
        else:
            await self._give_up(gap)

    async def _is_passed(self, gap: Gap) -> bool:
        """Whether any endpoint counts beyond it already."""
        return max(await self._account.counts(), default=gap.below) >= gap.below

    async def _fill(self, gap: Gap) -> None:
        fees = await self._account.market()
        if not fees:
            return
        for nonce in gap.missing:
            call = Call(self._account.address, b"", f"fill nonce {nonce}", urgent=True)
            gas, key = (await self._account.gas(call, 1))[0], f"fill:{nonce}"
            last = await self._log.latest(key)
            async with self._numbering:
                if nonce in await self._log.nonces(nonce):
                    continue
                send = 1 if last is None else last.send + 1
                record = await self._account.unsent(call, key, None, send, gas, nonce, fees[0])
                await self._log.add(record)
            log.warning("tx.gap_filled", nonce=nonce, below=gap.below)
            await self._account.broadcast(record)

    async def _give_up(self, gap: Gap) -> None:
        for record in await self._log.unfinished():
            if record.nonce == gap.below and record.status is TxStatus.OPEN:
                reason = f"nonce {record.nonce} is not reached: the account is at {gap.missing[0]}"
                log.warning("tx.nonce_given_up", key=record.key, reason=reason)
                lost = replace(record, status=TxStatus.LOST, final=True, reason=reason)
                await self._log.change(lost)
