"""One account at the nodes: what it pays, which nonce is its next, what it signs and sends.

What nodes say here decides nothing: `agent.chain.transactions` looks at the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

import structlog

from agent.chain.encoding import Fees, Unsigned, transaction_hash
from agent.chain.endpoints import Endpoints
from agent.chain.estimates import fees_of, gas_of, is_old_form
from agent.chain.fees import FeePolicy, asked_by
from agent.chain.held_up import HeldUpCalls
from agent.chain.nonces import MOST_NONCE, Leap
from agent.chain.pool_refusals import are_of_little_gas, are_of_what_is_there, are_too_cheap
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request, Rpc, number
from agent.chain.transaction_log import Attempt, TransactionLog, TxRecord
from agent.chain.transaction_states import Call
from agent.chain.wallet import Signer
from agent.clock import passed
from agent.market.model import Address, JobId
from agent.ports import Clock
from faults import TryElsewhere

T = TypeVar("T")
log = structlog.get_logger()

GAS_ROOM_PERCENT = 25  # over the estimate: state moves until inclusion
# What is in no pool costs nothing to send dearer at each look; twelve times twice is from 0.01 to
# 40 gwei. After that it is raised as what waits in a pool is.
AT_ONCE_PERCENT, AT_ONCE_MOST = 100, 12
MORE_GAS_PERCENT = 50  # at each look: from a report's 160,000 to MOST_GAS in eleven
# No call of ours takes a million (docs/gas.md), some where a rollup counts its parent chain's bytes
# as gas; what no block has room for would hold its nonce, and all after it, for ever.
MOST_GAS = 10_000_000
# What to try, with a quarter more and as far as budgets and balance go, where no node estimates:
# what is not used is not paid. The reference contracts' calls for jobs stay below 160,000.
UNESTIMATED_GAS = [800_000, 240_000]


class Account:
    """Of one signer on one chain; `log` is its."""

    def __init__(
        self,
        endpoints: Endpoints,
        signer: Signer,
        record: TransactionLog,
        clock: Clock,
        policy: FeePolicy,
        fees_age_seconds: float,
    ) -> None:
        self.sent_at: dict[str, float] = {}  # unix seconds, by hash
        self.held_up = HeldUpCalls()
        self._too_cheap = set[str]()  # hashes of what no node took, for its price
        self._little_gas = set[str]()  # or for its gas limit
        self._endpoints = endpoints
        self._signer = signer
        self._log = record
        self._clock = clock
        self._policy = policy
        self._fees_age = fees_age_seconds
        self._fees: tuple[float, list[Fees]] | None = None
        self._old_form = False  # told with the fees, which are asked before anything is signed
        self._leap = Leap()

    @property
    def address(self) -> Address:
        return self._signer.address

    async def simulate(self, to: Address, data: bytes, *, doubt: bool = False) -> list[int]:
        """The gas of a call, unused, as nodes tell it, the highest first. Raises CallReverted when
        two say so, or in `doubt` one; NodeRefused, RetryLater."""
        request = {"from": self.address, "to": to, "data": "0x" + data.hex()}

        async def one(reader: Reader) -> int | None:
            return await _gas_of(reader, request)

        told = await self._endpoints.several(one)
        no = next((each for each in told if isinstance(each, CallReverted)), None)
        if no is not None and doubt:
            raise no
        passes = [each for each in told if not isinstance(each, CallReverted)]
        numbers = [n for n in passes or [await one(self._endpoints)] if n is not None]
        return gas_of(numbers) if numbers else UNESTIMATED_GAS

    async def asked(self, call: Call, send: int) -> tuple[list[int], list[Fees], int]:
        """Gas, fees and balance for a call, all at once: on a slow node each exchange is seconds of
        what a report has. Of several faults the first one's is raised."""
        found = await asyncio.gather(
            self.gas(call, send), self.market(), self.balance(), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return cast(tuple[list[int], list[Fees], int], tuple(found))

    async def gas(self, call: Call, send: int) -> list[int]:
        """Simulates; more room each time, since a failed send may have run out of gas."""
        estimates = await self.simulate(call.to, call.data)
        if call.gas:
            return [call.gas]
        return [estimate * (100 + GAS_ROOM_PERCENT * send) // 100 for estimate in estimates]

    async def balance(self) -> int:
        """Wei, by who tells of more: where that is not there, nodes take no transaction."""

        async def one(rpc: Rpc) -> int:
            return await number(rpc, "eth_getBalance", self.address, "latest")

        return max(_no_reverts(await self._endpoints.several(one)))

    async def market(self) -> list[Fees]:
        """What to bid for the next blocks, the highest first; empty: it is above the cap."""
        now = self._clock.now()
        if self._fees is None or passed(now, self._fees[0], self._fees_age):
            told = await self._endpoints.several(asked_by)
            asked = _no_reverts(told)
            if is_old_form(asked) and not self._old_form:
                log.info("tx.old_form", reason="a node says that blocks have no base fee")
            self._old_form = is_old_form(asked)
            self._fees = (now, fees_of(asked, self._policy))
        return self._fees[1]

    async def mined_count(self) -> int:
        """Of the account's transactions; what does not fit ours is asked of a second endpoint."""
        counted = await self._count(self._endpoints)
        highest = await self._log.highest()
        if highest is None or counted > highest + 1:
            counted = min([counted, *await self.counts()])
        doubt = self._leap.doubted(counted, _after(highest), self._clock.now())
        if doubt:
            raise NodeRefused(doubt)
        return counted

    async def _count(self, reader: Reader) -> int:
        of = (self.address, "latest")
        return await number(reader, "eth_getTransactionCount", *of, most=MOST_NONCE)

    async def counts(self) -> list[int]:
        """What two endpoints say, as far as they do."""
        return await self._endpoints.voices(self._count)

    async def unsent(
        self, call: Call, key: str, job: JobId | None, send: int, gas: int, nonce: int, fees: Fees
    ) -> TxRecord:
        bare = TxRecord(
            key, send, job, call.label, call.to, call.data, nonce, gas, self._clock.now(), ()
        )
        return replace(bare, attempts=(await self.sign(bare, fees),))

    async def sign(self, record: TxRecord, fees: Fees) -> Attempt:
        chain = self._endpoints.chain_id
        bare = Unsigned(
            chain, record.nonce, fees, record.gas, record.to, record.data, old_form=self._old_form
        )
        raw = bare.signed(await self._signer.sign(bare.digest()))
        return Attempt(transaction_hash(raw), "0x" + raw.hex(), fees, self._clock.now())

    def raise_at_once(self, record: TxRecord) -> int:
        """By how many percent, since no node takes what was sent last for its price; 0: wait."""
        refused = record.attempts[-1].hash in self._too_cheap
        return AT_ONCE_PERCENT if refused and len(record.attempts) <= AT_ONCE_MOST else 0

    def with_more_gas(self, record: TxRecord) -> TxRecord | None:
        """What to sign anew, since no node takes the gas limit that was sent last; None: it is not
        that, or there is no more to be had. What is not used is not paid."""
        if record.attempts[-1].hash not in self._little_gas or record.gas >= MOST_GAS:
            return None
        return replace(record, gas=min(MOST_GAS, record.gas * (100 + MORE_GAS_PERCENT) // 100))

    async def broadcast(self, record: TxRecord) -> None:
        """To all endpoints. What they answer decides nothing: `pump` looks at the chain."""
        last = record.attempts[-1]
        self.sent_at[last.hash] = self._clock.now()
        answers = await self._endpoints.everywhere("eth_sendRawTransaction", last.raw)
        refusals = [no for no in map(_refusal, answers) if no is not None]
        if len(refusals) < len(answers) or are_of_what_is_there(refusals):
            self.held_up.out(record.key)
            return
        log.warning("tx.not_taken", key=record.key, error=str(refusals[0]))
        why = f"no node takes it: {refusals[0]}"
        self.held_up.note(record.key, record.label, why, self._clock.now())
        if are_too_cheap(refusals):
            self._too_cheap.add(last.hash)
        if are_of_little_gas(refusals):
            self._little_gas.add(last.hash)


async def _gas_of(reader: Reader, request: Json) -> int | None:
    """None: it would pass, and this node has no method that tells its gas. Raises as `number`."""
    try:
        return await number(reader, "eth_estimateGas", request, most=MOST_GAS)
    except NodeRefused as no:
        if not no.no_method:
            raise
    (outcome,) = await reader.outcomes([Request("eth_call", (request, "latest"))])
    if isinstance(outcome, CallReverted):
        raise outcome
    return None


def _refusal(answer: Json | TryElsewhere) -> TryElsewhere | None:
    """Of a transaction that was sent. A node that takes it says its hash, and some gateways one of
    their own; who says nothing (null) passed it on to nobody, as far as anyone can know."""
    if isinstance(answer, TryElsewhere):
        return answer
    said = isinstance(answer, str) and bool(answer)
    return None if said else NodeRefused("a node answers eth_sendRawTransaction without a hash")


def _no_reverts(told: Sequence[T | CallReverted]) -> list[T]:
    """The answers to what no contract is asked for. Raises NodeRefused: there is none."""
    found = [each for each in told if not isinstance(each, CallReverted)]
    if not found:
        raise NodeRefused(f"a node reverts what no contract is asked for: {told[0]}")
    return found


def _after(highest: int | None) -> int | None:
    return None if highest is None else highest + 1
