"""Sending transactions: simulated first, recorded before broadcast, one nonce sequence.

`submit` says what has become of a key and begins it when nothing has; it never waits for a block.
`pump` looks at what is open, all in one exchange: finds receipts, notices forks, broadcasts again
what a node forgot, replaces what is stuck. Call both every tick; neither needs the other's past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from agent.chain.encoding import Fees, Unsigned, transaction_hash
from agent.chain.endpoints import Endpoints
from agent.chain.fees import FeePolicy, market_fees, paid, raised
from agent.chain.head import Finality
from agent.chain.pending import Sight, is_ours_still, look
from agent.chain.rpc import CallReverted, Json, NodeRefused, integer
from agent.chain.transaction_log import Attempt, TransactionLog, TxRecord, TxStatus, first_free
from agent.chain.wallet import Signer
from agent.clock import passed
from agent.market.model import Address, JobId, Wei
from agent.ports import Clock
from faults import Refused, RetryLater, TryElsewhere

log = structlog.get_logger()

DAY_SECONDS = 86_400
MAX_SENDS = 3  # nonces a key may take when each failed for a reason that has passed
GAS_ROOM_PERCENT = 25  # over the estimate: state moves until inclusion
LOST_AFTER_BLOCKS = 3  # a nonce taken by another, seen this long, is no lagging node's view


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction as data. `label` is for people and logs: `reportStarted(12)`."""

    to: Address
    data: bytes
    label: str
    gas: int = 0  # 0: what the node estimates, and a quarter more


@dataclass(frozen=True, slots=True)
class Pending:
    """On its way, or about to be: ask again."""

    key: str
    tx_hash: str = ""
    since: float = 0.0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Done. `final`: no fork takes it back."""

    key: str
    tx_hash: str
    block: int
    fee: Wei
    final: bool


@dataclass(frozen=True, slots=True)
class Reverted:
    """The contract says no. Without `tx_hash` it was only simulated, and may be asked again."""

    key: str
    reason: str
    tx_hash: str = ""


class Why(StrEnum):
    FEES = "fees"  # the chain asks more than the cap
    BUDGET = "budget"  # the job or the day has spent its gas
    FUNDS = "funds"  # the account can't pay for it
    NODES = "nodes"  # no endpoint helps now


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing was sent; the same submit may succeed from `retry_at` on (unix seconds)."""

    key: str
    why: Why
    message: str
    retry_at: float


TxState = Pending | Confirmed | Reverted | Waiting


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    replace: float = 30.0  # unmined after this long: raise the fees
    rebroadcast: float = 15.0
    retry: float = 5.0  # after a Waiting or a simulated revert
    fees_age: float = 3.0


class Transactions:
    """All transactions of one account on one chain."""

    def __init__(
        self,
        endpoints: Endpoints,
        signer: Signer,
        record: TransactionLog,
        clock: Clock,
        *,
        policy: FeePolicy | None = None,
        finality: Finality | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._signer = signer
        self._log = record
        self._clock = clock
        self._policy = policy or FeePolicy()
        self._finality = finality or Finality()
        self._patience = patience or Patience()
        self._nonces = asyncio.Lock()  # from reading the nonce to having recorded it
        self._pumping = asyncio.Lock()  # one look at a time changes records
        self._starting: set[str] = set()
        self._held: dict[str, tuple[float, TxState]] = {}
        self._sent_at: dict[str, float] = {}
        self.nonce_taken_at: float | None = None  # when another program last used a nonce of ours
        self._lost_since: dict[tuple[str, int], int] = {}
        self._fees: tuple[float, Fees | None] | None = None

    # Beginning

    def state(self, key: str) -> TxState | None:
        """What has become of a key, without asking anyone; None: nothing was sent for it."""
        record = self._log.latest(key)
        return None if record is None else _state(record)

    def came_to_nothing(self, key: str) -> bool:
        """Whether what was last sent for it changed nothing, so that `submit` would send anew."""
        record = self._log.latest(key)
        return record is not None and _may_repeat(record)

    async def submit(
        self, call: Call, *, key: str, job: JobId | None = None, as_of: int | None = None
    ) -> TxState:
        """Begin `key` unless it was begun, and say how it stands. One key is one transaction,
        whatever happens between. The same call is not sent beside one that is open, or mined later
        than `as_of` (the block that the caller decided on): the answer is about that one, and has
        its key. Raises MustStop alone (the journal or the key is broken)."""
        record = self._log.latest(key)
        if record is not None and not _may_repeat(record):
            return _state(record)
        since, held = self._held.get(key, (0.0, None))
        if held is not None and not passed(self._clock.now(), since, self._patience.retry):
            return held
        if key in self._starting:
            return Pending(key)
        self._starting.add(key)
        self._held.pop(key, None)
        try:
            same = await self._on_its_way(call, as_of)
            if same is not None:
                return _state(same)
            return await self._begin(call, key, job, 1 if record is None else record.send + 1)
        except CallReverted as no:
            log.warning("tx.would_revert", key=key, call=call.label, reason=no.reason)
            return self._hold(Reverted(key, no.reason))
        except (RetryLater, TryElsewhere) as fault:
            return self._hold(self._waiting(key, Why.NODES, str(fault)))
        finally:
            self._starting.discard(key)

    async def _on_its_way(self, call: Call, as_of: int | None) -> TxRecord | None:
        """What makes the same call and is open, or was mined later than `as_of`; as of now."""
        if not self._same(call):
            return None
        await self.pump()
        for same in self._same(call):
            news = same.status is TxStatus.MINED and as_of is not None and same.block > as_of
            if news or same.status is TxStatus.OPEN:
                return same
        return None

    def _same(self, call: Call) -> list[TxRecord]:
        """What is not final and makes the same call."""
        return [r for r in self._log.unfinished() if (r.to, r.data) == (call.to, call.data)]

    def _hold(self, state: Reverted | Waiting) -> TxState:
        self._held[state.key] = (self._clock.now(), state)
        return state

    def _waiting(self, key: str, why: Why, message: str) -> Waiting:
        return Waiting(key, why, message, self._clock.now() + self._patience.retry)

    async def _begin(self, call: Call, key: str, job: JobId | None, send: int) -> TxState:
        gas = await self._gas(call, send)
        fees = await self._market()
        if fees is None:
            cap = self._policy.cap_per_gas
            return self._hold(self._waiting(key, Why.FEES, f"gas costs more than {cap} wei now"))
        balance = integer(await self._endpoints.call("eth_getBalance", *self._me()))
        async with self._nonces:
            refusal = self._unaffordable(key, job, gas * fees.max_fee, balance)
            if refusal is not None:
                log.warning("tx.waits", key=key, call=call.label, reason=refusal.message)
                return self._hold(refusal)
            record = await self._recorded(call, key, job, send, gas, fees)
        log.info("tx.sent", key=key, call=call.label, nonce=record.nonce, job=job)
        await self._broadcast(record)
        return _state(record)

    def _me(self, block: str = "latest") -> tuple[str, str]:
        return self._signer.address, block

    async def _gas(self, call: Call, send: int) -> int:
        """Simulates; more room each time, since a failed send may have run out of gas."""
        request = _simulation(self._signer.address, call.to, call.data)
        estimate = integer(await self._endpoints.call("eth_estimateGas", request))
        return call.gas or estimate * (100 + GAS_ROOM_PERCENT * send) // 100

    async def _market(self) -> Fees | None:
        now = self._clock.now()
        if self._fees is None or passed(now, self._fees[0], self._patience.fees_age):
            self._fees = (now, await market_fees(self._endpoints, self._policy))
        return self._fees[1]

    def _unaffordable(
        self, key: str, job: JobId | None, worst: int, balance: int
    ) -> Waiting | None:
        over = self._over_budget(job, worst)
        if over:
            return self._waiting(key, Why.BUDGET, over)
        reserved = sum(r.worst_fee for r in self._log.unfinished() if r.status is TxStatus.OPEN)
        if balance < reserved + worst:
            missing = reserved + worst - balance
            text = f"{self._signer.address} lacks {missing} wei for gas; send it some"
            return self._waiting(key, Why.FUNDS, text)
        return None

    def _over_budget(self, job: JobId | None, worst: int) -> str:
        since = self._clock.now() - DAY_SECONDS
        if self._log.worst_fees(since=since) + worst > self._policy.per_day:
            return f"the gas budget of 24 h ({self._policy.per_day} wei) is spent"
        if job is not None and self._log.worst_fees(job=job) + worst > self._policy.per_job:
            return f"the gas budget of job {job} ({self._policy.per_job} wei) is spent"
        return ""

    async def _recorded(
        self, call: Call, key: str, job: JobId | None, send: int, gas: int, fees: Fees
    ) -> TxRecord:
        mined = integer(await self._endpoints.call("eth_getTransactionCount", *self._me()))
        nonce = first_free(mined, self._log.nonces(mined))
        bare = TxRecord(
            key, send, job, call.label, call.to, call.data, nonce, gas, self._clock.now(), ()
        )
        record = replace(bare, attempts=(await self._sign(bare, fees),))
        self._log.put(record)
        return record

    async def _sign(self, record: TxRecord, fees: Fees) -> Attempt:
        chain = self._endpoints.chain_id
        bare = Unsigned(chain, record.nonce, fees, record.gas, record.to, record.data)
        raw = bare.signed(await self._signer.sign(bare.digest()))
        return Attempt(transaction_hash(raw), "0x" + raw.hex(), fees, self._clock.now())

    async def _broadcast(self, record: TxRecord) -> None:
        """To all endpoints. What they answer decides nothing: `pump` looks at the chain."""
        last = record.attempts[-1]
        self._sent_at[last.hash] = self._clock.now()
        try:
            answers = await self._endpoints.everywhere("eth_sendRawTransaction", last.raw)
        except Refused as no:
            answers = [NodeRefused(str(no))]
        refusals = [answer for answer in answers if isinstance(answer, TryElsewhere)]
        if len(refusals) == len(answers):
            log.warning("tx.not_taken", key=record.key, error=str(refusals[0]))

    # Following

    async def pump(self) -> None:
        """Advance all that is not final by one look at the chain. Raises MustStop alone."""
        async with self._pumping:
            await self._pump(self._log.unfinished())

    async def _pump(self, records: Sequence[TxRecord]) -> None:
        if not records:
            return
        try:
            sight = await look(self._endpoints, self._signer.address, records, self._finality)
            for record in records:
                await self._advance_alone(record, sight)
        except (RetryLater, TryElsewhere) as fault:
            log.warning("tx.no_look", error=str(fault))

    async def _advance_alone(self, record: TxRecord, sight: Sight) -> None:
        """What nodes refuse to say of one record holds up no other. Raises RetryLater."""
        try:
            await self._advance(record, sight)
        except TryElsewhere as refused:
            log.warning("tx.not_told", key=record.key, error=str(refused))

    async def _advance(self, record: TxRecord, sight: Sight) -> None:
        for attempt in record.attempts:
            receipt = sight.receipts[attempt.hash]
            if receipt is not None:
                return await self._mined(record, receipt, sight)
        if record.status is not TxStatus.OPEN:
            log.warning("tx.undone_by_fork", key=record.key, block=record.block)
            record = replace(record, status=TxStatus.OPEN, tx_hash="", block=0, fee=Wei(0))
            self._log.put(record)
        if sight.nonce > record.nonce:
            return await self._taken(record, sight)
        self._lost_since.pop((record.key, record.send), None)
        return await self._nudge(record)

    async def _mined(self, record: TxRecord, receipt: Json, sight: Sight) -> None:
        block = integer(receipt["blockNumber"])
        final = block <= sight.final_number
        if record.block == block and record.final == final:
            return
        worked = integer(receipt["status"]) == 1
        if record.tx_hash and worked == (record.status is TxStatus.MINED):
            status, reason = record.status, record.reason
        else:
            status, reason = await self._verdict(record, receipt)
            log.info("tx.mined", key=record.key, block=block, status=str(status), reason=reason)
        self._log.put(
            replace(
                record, status=status, reason=reason, final=final, block=block,
                tx_hash=receipt["transactionHash"], fee=paid(receipt),
            )
        )  # fmt: skip

    async def _verdict(self, record: TxRecord, receipt: Json) -> tuple[TxStatus, str]:
        """Whether it worked; if not, whether the same call would revert again."""
        if integer(receipt["status"]) == 1:
            return TxStatus.MINED, ""
        request = _simulation(self._signer.address, record.to, record.data)
        try:
            await self._endpoints.call("eth_estimateGas", request)
        except CallReverted as no:
            return TxStatus.REVERTED, no.reason
        if record.send >= MAX_SENDS:
            return TxStatus.REVERTED, f"failed {record.send} times in blocks, never in simulation"
        return TxStatus.FAILED, "reverted in a block, but would succeed now"

    async def _taken(self, record: TxRecord, sight: Sight) -> None:
        """Its nonce is used and no attempt has a receipt: another program shares the key, or a
        node has not got to this receipt yet."""
        since = self._lost_since.setdefault((record.key, record.send), sight.head.number)
        if sight.head.number - since < LOST_AFTER_BLOCKS:
            return
        if await is_ours_still(self._endpoints, self._signer.address, record, sight.head):
            log.warning("tx.receipt_hidden", key=record.key, nonce=record.nonce)
            self._lost_since.pop((record.key, record.send))  # and three blocks later once more
            return
        log.error("tx.nonce_taken_by_another", key=record.key, nonce=record.nonce)
        self.nonce_taken_at = self._clock.now()
        self._log.put(replace(record, status=TxStatus.LOST, final=True))

    async def _nudge(self, record: TxRecord) -> None:
        """Replace what waits too long; broadcast again what a node may have forgotten."""
        now, last = self._clock.now(), record.attempts[-1]
        if passed(now, last.at, self._patience.replace):
            fees = raised(last.fees, await self._market(), self._policy)
            if fees is not None and not self._over_budget(record.job, self._extra(record, fees)):
                return await self._replace(record, fees)
        if passed(now, self._sent_at.get(last.hash, 0.0), self._patience.rebroadcast):
            await self._broadcast(record)
        return None

    @staticmethod
    def _extra(record: TxRecord, fees: Fees) -> int:
        return record.gas * fees.max_fee - record.worst_fee

    async def _replace(self, record: TxRecord, fees: Fees) -> None:
        attempt = await self._sign(record, fees)
        replaced = replace(record, attempts=(*record.attempts, attempt))
        self._log.put(replaced)
        log.info("tx.replaced", key=record.key, nonce=record.nonce, max_fee=fees.max_fee)
        await self._broadcast(replaced)


def _may_repeat(record: TxRecord) -> bool:
    return record.status in (TxStatus.FAILED, TxStatus.LOST)


def _state(record: TxRecord) -> TxState:
    if record.status is TxStatus.MINED:
        return Confirmed(record.key, record.tx_hash, record.block, record.fee, record.final)
    if record.status is TxStatus.REVERTED:
        return Reverted(record.key, record.reason, record.tx_hash)
    last = record.attempts[-1].hash
    return Pending(record.key, last, record.created_at, len(record.attempts))


def _simulation(sender: Address, to: Address, data: bytes) -> Json:
    return {"from": sender, "to": to, "data": "0x" + data.hex()}
