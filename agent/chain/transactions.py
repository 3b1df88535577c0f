"""Sending transactions: simulated first, recorded before broadcast, one nonce sequence.

`submit` says what has become of a key and begins it when nothing has; it never waits for a block.
`pump` looks at what is open, all in one exchange: finds receipts, notices forks, broadcasts again
what a node forgot, replaces what is stuck. Call both every tick; neither needs the other's past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from agent.aside import Aside, at_once
from agent.chain.account import Account
from agent.chain.budget import Budget, Spending
from agent.chain.encoding import Fees
from agent.chain.endpoints import Endpoints
from agent.chain.estimates import Bid, bids
from agent.chain.fees import BUMP_PERCENT, FeePolicy, raised
from agent.chain.gap_filling import GapFilling
from agent.chain.head import Finality
from agent.chain.hearsay import Hearsay
from agent.chain.held_up import HeldUpCalls
from agent.chain.other_senders import OtherSenders
from agent.chain.pending import VOICES, Sight, is_ours_still, look
from agent.chain.receipts import Receipt, parent_fee, receipt_of
from agent.chain.rpc import CallReverted, Json
from agent.chain.transaction_log import (
    Attempt,
    TransactionLog,
    TransactionStore,
    TxRecord,
    TxStatus,
)
from agent.chain.transaction_states import Call as Call
from agent.chain.transaction_states import Confirmed as Confirmed
from agent.chain.transaction_states import Patience as Patience
from agent.chain.transaction_states import Pending as Pending
from agent.chain.transaction_states import Reverted as Reverted
from agent.chain.transaction_states import TxState as TxState
from agent.chain.transaction_states import Waiting as Waiting
from agent.chain.transaction_states import Why as Why
from agent.chain.wallet import Signer
from agent.clock import passed
from agent.market.model import JobId, Wei
from agent.ports import Clock
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

MAX_SENDS = 3  # nonces a key may take when each failed for a reason that has passed
LOST_AFTER_BLOCKS = 3  # a nonce taken by another, seen this long, is no lagging node's view


class Transactions:
    """All transactions of one account on one chain."""

    def __init__(
        self,
        endpoints: Endpoints,
        signer: Signer,
        record: TransactionStore,
        clock: Clock,
        *,
        policy: FeePolicy | None = None,
        finality: Finality | None = None,
        patience: Patience | None = None,
        aside: Aside = at_once,
    ) -> None:
        self._endpoints = endpoints
        self._log = TransactionLog(record, aside)
        self._clock = clock
        self._policy = policy or FeePolicy()
        self._finality = finality or Finality()
        self._patience = patience or Patience()
        self._nonces = asyncio.Lock()  # from reading the nonce to having recorded it
        self._pumping = asyncio.Lock()  # one look at a time changes records
        self._starting: set[str] = set()
        self._held: dict[str, tuple[float, TxState]] = {}
        self._lost_since: dict[tuple[str, int], int] = {}
        self._untold: dict[str, str] = {}  # why nodes tell nothing of a key, as it was last said
        self._hearsay = Hearsay(clock, self._patience.hearsay)
        self._budget = Budget(self._log, self._policy)
        age = self._patience.fees_age
        self._account = Account(endpoints, signer, self._log, clock, self._policy, age)
        self.others = OtherSenders(self._account, self._log, clock, min(VOICES, endpoints.count))
        self._filling = GapFilling(self._account, self._log, self._nonces, clock)

    # Beginning

    async def state(self, key: str) -> TxState | None:
        """What has become of a key, without asking anyone; None: nothing was sent for it."""
        record = await self._log.latest(key)
        return None if record is None else _state(record)

    async def came_to_nothing(self, key: str) -> bool:
        """Whether what was last sent for it changed nothing, so that `submit` would send anew."""
        record = await self._log.latest(key)
        return record is not None and _may_repeat(record)

    def told_by_one(self, key: str) -> bool:
        """Whether one endpoint of several alone told of it that it is done."""
        return self._hearsay.is_heard_of(key)

    async def submit(
        self, call: Call, *, key: str, job: JobId | None = None, as_of: int | None = None
    ) -> TxState:
        """Begin `key` unless it was begun, and say how it stands. One key is one transaction,
        whatever happens between. The same call is not sent beside one that is open, or mined later
        than `as_of` (the block that the caller decided on): the answer is about that one, and has
        its key. Raises MustStop alone (the journal or the key is broken)."""
        if key in self._starting:
            return Pending(key)
        self._starting.add(key)  # before the first wait: of two that ask at once one begins
        try:
            record = await self._log.latest(key)
            if record is not None and not _may_repeat(record):
                return _state(record)
            since, held = self._held.get(key, (0.0, None))
            if held is not None and not passed(self._clock.now(), since, self._patience.retry):
                return held
            self._held.pop(key, None)
            same = await self._on_its_way(call, as_of)
            if same is not None:
                return _state(same)
            return await self._begin(call, key, job, 1 if record is None else record.send + 1)
        except CallReverted as no:
            log.warning("tx.would_revert", key=key, call=call.label, reason=no.reason)
            return self._hold(Reverted(key, no.reason))
        except (RetryLater, TryElsewhere) as fault:
            return self._held_up(call, self._waiting(key, Why.NODES, str(fault)))
        finally:
            self._starting.discard(key)

    def _held_up(self, call: Call, state: Waiting) -> TxState:
        """Held, and told to whoever asks for health."""
        now, urgent = self._clock.now(), call.urgent
        self.held_up.note(state.key, call.label, state.message, now, urgent=urgent)
        return self._hold(state)

    @property
    def held_up(self) -> HeldUpCalls:
        """What does not get out to the chain."""
        return self._account.held_up

    async def _on_its_way(self, call: Call, as_of: int | None) -> TxRecord | None:
        """What makes the same call and is open, or was mined later than `as_of`; as of now."""
        if not await self._same(call):
            return None
        await self.pump()
        for same in await self._same(call):
            news = same.status is TxStatus.MINED and as_of is not None and same.block > as_of
            if news or same.status is TxStatus.OPEN:
                return same
        return None

    async def _same(self, call: Call) -> list[TxRecord]:
        """What is not final and makes the same call."""
        unfinished = await self._log.unfinished()
        return [r for r in unfinished if (r.to, r.data) == (call.to, call.data)]

    def _hold(self, state: Reverted | Waiting) -> TxState:
        self._held[state.key] = (self._clock.now(), state)
        return state

    def _waiting(self, key: str, why: Why, message: str) -> Waiting:
        return Waiting(key, why, message, self._clock.now() + self._patience.retry)

    async def _begin(self, call: Call, key: str, job: JobId | None, send: int) -> TxState:
        gas, fees, balance = await self._account.asked(call, send)
        if not fees:
            cap = self._policy.cap_per_gas
            text = f"gas costs more than {cap} wei now, which is gas.max_fee"
            return self._held_up(call, self._waiting(key, Why.FEES, text))
        async with self._nonces:
            found = await self._affordable(call, key, job, bids(gas, fees), balance)
            if isinstance(found, Waiting):
                log.warning("tx.waits", key=key, call=call.label, reason=found.message)
                return self._held_up(call, found)
            if not call.wanted():
                return Waiting(key, Why.UNWANTED, "its reason has gone", retry_at=0.0)
            record = await self._recorded(call, key, job, send, found)
        log.info("tx.sent", key=key, call=call.label, nonce=record.nonce, job=job)
        await self._account.broadcast(record)
        return _state(record)

    async def _affordable(
        self, call: Call, key: str, job: JobId | None, offered: Sequence[Bid], balance: int
    ) -> Bid | Waiting:
        """The dearest that budgets and balance allow; why not even the cheapest."""
        refusal: Waiting | None = None
        for bid in offered:
            spending = Spending(job, bid.worst, call.urgent)
            refusal = await self._unaffordable(key, spending, balance, bid.fees)
            if refusal is None:
                return bid
        assert refusal is not None
        return refusal

    async def _unaffordable(
        self, key: str, spending: Spending, balance: int, fees: Fees
    ) -> Waiting | None:
        over = await self._budget.over(spending, self._clock.now())
        if over:
            return self._waiting(key, Why.BUDGET, over)
        lacking = await self._budget.lacking(spending, balance, fees.max_fee)
        if lacking:
            text = f"{self._account.address} lacks {lacking} wei for gas; send it some"
            return self._waiting(key, Why.FUNDS, text)
        return None

    async def _recorded(
        self, call: Call, key: str, job: JobId | None, send: int, bid: Bid
    ) -> TxRecord:
        async def signed(nonce: int) -> TxRecord:
            return await self._account.unsent(call, key, job, send, bid.gas, nonce, bid.fees)

        return await self._log.add_numbered(await self._account.mined_count(), signed)

    # Following

    async def pump(self) -> None:
        """Advance all that is not final by one look at the chain. Raises MustStop alone."""
        async with self._pumping:
            await self._pump(await self._log.unfinished())

    async def _pump(self, records: Sequence[TxRecord]) -> None:
        if not records:
            return
        try:
            sight = await look(self._endpoints, self._account.address, records, self._finality)
            for record in records:
                await self._advance_alone(record, sight)
            await self._filling.look(sight.nonce)
        except (RetryLater, TryElsewhere, CallReverted) as fault:
            log.warning("tx.no_look", error=str(fault))

    async def _advance_alone(self, record: TxRecord, sight: Sight) -> None:
        """What nodes refuse to say of one record holds up no other. Raises RetryLater."""
        try:
            await self._advance(record, sight)
            self._untold.pop(record.key, None)
        except (TryElsewhere, CallReverted) as refused:
            say = log.debug if self._untold.get(record.key) == str(refused) else log.warning
            self._untold[record.key] = str(refused)  # each second is a look
            say("tx.not_told", key=record.key, error=str(refused))

    async def _advance(self, record: TxRecord, sight: Sight) -> None:
        if not sight.alone:
            self._hearsay.forget(record)
        for attempt in record.attempts:
            answer = sight.receipts.get(attempt.hash)
            if answer is not None:
                return await self._mined(record, attempt, answer, sight)
        if any(attempt.hash in sight.disputed for attempt in record.attempts):
            return await self._disputed(record)
        if record.status is not TxStatus.OPEN:
            record = await self._reopened(record)
        if sight.nonce > record.nonce:
            return await self._taken(record, sight)
        self._lost_since.pop((record.key, record.send), None)
        return await self._nudge(record)

    async def _disputed(self, record: TxRecord) -> None:
        """One endpoint says that it is mined, and one otherwise. What two said before stands; else
        it is kept going, for no more than the market asks: it may be in a block after all."""
        log.info("tx.disputed", key=record.key, nonce=record.nonce)
        if record.status is TxStatus.OPEN:
            await self._nudge(record, beyond_market=False)

    async def _reopened(self, record: TxRecord) -> TxRecord:
        """On its way again: while it may be, nothing is sent beside it."""
        log.warning("tx.undone_by_fork", key=record.key, block=record.block)
        record = replace(record, status=TxStatus.OPEN, tx_hash="", block=0, fee=Wei(0))
        await self._log.change(record)
        return record

    async def _mined(self, record: TxRecord, attempt: Attempt, answer: Json, sight: Sight) -> None:
        receipt = receipt_of(answer, attempt, record.gas)
        final = self._is_final(record, receipt, sight)
        if record.block == receipt.block and record.final == final:
            return
        stays = record.status is TxStatus.MINED and receipt.worked
        if not (stays and receipt.block >= record.block) and self._hearsay.is_all(record, sight):
            await self._unheard(record, stays)
            return
        if record.tx_hash and receipt.worked == (record.status is TxStatus.MINED):
            status, reason = record.status, record.reason
        else:
            status, reason = await self._verdict(record, receipt)
            log.info(
                "tx.mined", key=record.key, block=receipt.block, status=str(status), reason=reason
            )
        self.held_up.out(record.key)
        if receipt.bounded:
            log.warning("tx.fee_beyond_signed", key=record.key, tx=attempt.hash)
        await self._log.change(
            replace(
                record, status=status, reason=reason, final=final, block=receipt.block,
                tx_hash=attempt.hash, fee=Wei(receipt.fee + await self._parents(record, receipt)),
            )
        )  # fmt: skip

    async def _unheard(self, record: TxRecord, stays: bool) -> None:
        """One endpoint of several tells alone that it is done, or done otherwise. It may be so: the
        same is not sent beside it, and by two voices it was not done before."""
        log.info("tx.told_by_one", key=record.key, nonce=record.nonce)
        if record.status is TxStatus.OPEN:
            await self._nudge(record, beyond_market=False)
        elif not stays:
            await self._reopened(record)

    def _is_final(self, record: TxRecord, receipt: Receipt, sight: Sight) -> bool:
        """By two endpoints, where there are two; one that is silent is not waited for for ever."""
        if sight.final_number is not None:
            return receipt.block <= sight.final_number
        alone = passed(self._clock.now(), record.created_at, self._patience.alone)
        return alone and receipt.block <= sight.head.number - self._patience.alone_blocks

    async def _parents(self, record: TxRecord, receipt: Receipt) -> int:
        return await parent_fee(self._endpoints, record, receipt, self._policy.cap_per_gas)

    async def _verdict(self, record: TxRecord, receipt: Receipt) -> tuple[TxStatus, str]:
        """Whether it worked; if not, whether the same call would revert again by any node."""
        if receipt.worked:
            return TxStatus.MINED, ""
        try:
            await self._account.simulate(record.to, record.data, doubt=True)
        except CallReverted as no:
            return TxStatus.REVERTED, no.reason
        if record.send >= MAX_SENDS:
            return TxStatus.REVERTED, f"failed {record.send} times in blocks, never in simulation"
        return TxStatus.FAILED, "reverted in a block, but would succeed now"

    async def _taken(self, record: TxRecord, sight: Sight) -> None:
        """Its nonce is used and no attempt has a receipt: another program shares the key, or a
        node has not got to this receipt yet."""
        since = self._lost_since.setdefault((record.key, record.send), sight.head.number)
        if sight.head.number - since < LOST_AFTER_BLOCKS or self._hearsay.is_all(record, sight):
            return
        if min([sight.nonce, *await self._account.counts()]) <= record.nonce:
            self._lost_since.pop((record.key, record.send))  # one node's word against another's
            await self._nudge(record)
            return
        if await is_ours_still(self._endpoints, self._account.address, record, sight.head):
            log.warning("tx.receipt_hidden", key=record.key, nonce=record.nonce)
            self._lost_since.pop((record.key, record.send))  # and three blocks later once more
            return
        log.error("tx.nonce_taken_by_another", key=record.key, nonce=record.nonce)
        self.others.note()
        await self._log.change(replace(record, status=TxStatus.LOST, final=True))

    async def _nudge(self, record: TxRecord, *, beyond_market: bool = True) -> None:
        """Replace what waits too long; broadcast again what a node may have forgotten."""
        now, last = self._clock.now(), record.attempts[-1]
        larger = self._account.with_more_gas(record)
        if larger and not await self._budget.over(self._extra(larger, last.fees, record), now):
            return await self._replace(larger, last.fees)
        percent = self._account.raise_at_once(record)
        if percent or passed(now, last.at, self._patience.replace):
            for market in (*await self._account.market(),) or (None,):
                dearer = market is not None and market.max_fee > last.fees.max_fee
                fees = raised(last.fees, market, self._policy, percent or BUMP_PERCENT)
                if fees is None or not (dearer or beyond_market):
                    continue
                if not await self._budget.over(self._extra(record, fees, record), now):
                    return await self._replace(record, fees)
        untaken = self._account.held_up.has(record.key)
        again = self._patience.untaken if untaken else self._patience.rebroadcast
        if passed(now, self._account.sent_at.get(last.hash, 0.0), again):
            await self._account.broadcast(record)
        return None

    @staticmethod
    def _extra(record: TxRecord, fees: Fees, was: TxRecord) -> Spending:
        """Urgent in any case: what is sent holds up all that comes after it."""
        return Spending(record.job, record.gas * fees.max_fee - was.worst_fee, urgent=True)

    async def _replace(self, record: TxRecord, fees: Fees) -> None:
        attempt = await self._account.sign(record, fees)
        replaced = replace(record, attempts=(*record.attempts, attempt))
        await self._log.change(replaced)
        bid = {"max_fee": fees.max_fee, "gas": record.gas}
        log.info("tx.replaced", key=record.key, nonce=record.nonce, **bid)
        await self._account.broadcast(replaced)


def _may_repeat(record: TxRecord) -> bool:
    return record.status in (TxStatus.FAILED, TxStatus.LOST)


def _state(record: TxRecord) -> TxState:
    if record.status is TxStatus.MINED:
        return Confirmed(record.key, record.tx_hash, record.block, record.fee, record.final)
    if record.status is TxStatus.REVERTED:
        return Reverted(record.key, record.reason, record.tx_hash)
    last = record.attempts[-1].hash
    return Pending(record.key, last, record.created_at, len(record.attempts))
