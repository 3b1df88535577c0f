"""Transactions from a command: shown with their cost, agreed to, sent one after the other.

The first step is estimated by the node; later ones may only be possible after it (a stake after
its approval), so where a node cannot tell yet, a usual figure stands in and is marked as such.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.chain.encoding import Fees
from agent.chain.fees import Asked, asked_by, fees_asked
from agent.chain.rpc import CallReverted, NodeRefused, integer
from agent.chain.transactions import Call, Confirmed, Reverted, Waiting
from agent.config.units import show_coin, show_wei
from agent.journal.transactions import TxJournal
from agent.wiring.adapters import fees_of
from agent.wiring.journal import host_name, refuse_another_s
from commands.context import Desk
from commands.dialect import coin
from commands.journal import open_reader
from commands.terminal import agree, agree_again, print_json, say, waiting
from faults import Refused, RetryLater

# Of the reference contracts, docs/gas.md: every call of a provider stays below this.
USUAL_GAS = 250_000
OLD_FORM = "no EIP-1559 on this chain: sent as type 0 at the gas price; nothing to do"
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction; `text` says to a person what it does."""

    call: Call
    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a step will cost, wei; `estimated` is False where the node could not tell yet.
    `old_form`: this chain has no base fees, and it is sent as chains of before EIP-1559 take it."""

    step: Step
    fee_wei: int
    estimated: bool
    old_form: bool = False


@dataclass(frozen=True, slots=True)
class How:
    """The flags that every transaction command has."""

    yes: bool = False
    dry_run: bool = False
    as_json: bool = False


async def carry_out(desk: Desk, steps: Sequence[Step], how: How) -> list[dict[str, Any]]:
    """Show, ask, send; returns what was mined. Raises Refused: it would revert, or not agreed."""
    quotes = await quote(desk, steps)
    if not agree_to(quotes, how):
        return []
    mined = await send(desk, quotes, how)
    if how.as_json:
        print_json({"dry_run": False, "transactions": mined})
    return mined


def agree_to(
    quotes: Sequence[Quote],
    how: How,
    facts: Sequence[str] = (),
    doubts: Sequence[str] = (),
    *,
    below_cost: bool = False,
) -> bool:
    """Whether to go on: shown, and agreed to; what is doubted is asked twice. False: a dry run.

    Raises Refused (not agreed), UsageFault (nobody can be asked).
    """
    if not how.as_json:
        _show(quotes, facts, doubts)
    if how.dry_run:
        if how.as_json:
            plan = {"steps": [_plan(each) for each in quotes], "doubts": list(doubts)}
            print_json({"dry_run": True, **plan})
        return False
    if doubts and not below_cost:
        agree_again(doubts, asks=not (how.yes or how.as_json))
    agree("Send?", yes=how.yes, as_json=how.as_json)
    return True


async def send(desk: Desk, quotes: Sequence[Quote], how: How) -> list[dict[str, Any]]:
    """One after the other; returns what was mined. Raises Refused, RetryLater."""
    if not quotes:
        return []
    with open_reader(desk.config, make=True) as journal:
        refuse_another_s(journal.engine, desk.config, desk.provider)
        transactions = await desk.transactions(TxJournal(journal.engine))
        begun = desk.clock.now()
        here = f"{host_name(desk.config)}:{os.getpid()}"  # two terminals of two hosts at once
        keys = [f"cli:{here}:{begun:.3f}:{n}" for n in range(len(quotes))]
        return [
            await _send(desk, transactions, each.step, key, how)
            for each, key in zip(quotes, keys, strict=True)
        ]


async def quote(desk: Desk, steps: Sequence[Step]) -> list[Quote]:
    """The cost of each step at the present fees. Raises Refused when the first would revert."""
    asked = await asked_by(desk.endpoints)
    fees, old_form = _below_cap(desk, asked), asked.base_fee is None
    quotes: list[Quote] = []
    for step in steps:
        gas, estimated = await _gas(desk, step, must=not quotes)
        quotes.append(Quote(step, gas * fees.max_fee, estimated, old_form))
    return quotes


async def present_fees(desk: Desk) -> Fees:
    """What a unit of gas costs now. Raises RetryLater: more than the configuration allows."""
    return _below_cap(desk, await asked_by(desk.endpoints))


def _below_cap(desk: Desk, asked: Asked) -> Fees:
    fees = fees_asked(asked, fees_of(desk.config))
    if fees is None:
        cap = show_wei(desk.config.gas.max_fee_wei)
        raise RetryLater(f"gas costs more than gas.max_fee ({cap}) now; wait, or raise it")
    return fees


async def _gas(desk: Desk, step: Step, *, must: bool) -> tuple[int, bool]:
    request = {
        "from": desk.provider,
        "to": step.call.to,
        "data": "0x" + step.call.data.hex(),
    }
    try:
        return integer(await desk.endpoints.call("eth_estimateGas", request)), True
    except NodeRefused as refused:
        if not refused.no_method:
            raise
        return USUAL_GAS, False  # whether the contract says no is asked when it is sent
    except CallReverted as no:
        if must:
            raise Refused(f"{step.text}: the contract says no ({no.reason})") from no
        return USUAL_GAS, False


def _show(quotes: Sequence[Quote], facts: Sequence[str], doubts: Sequence[str]) -> None:
    for each in quotes:
        about = "at most" if each.estimated else "about"
        say(f"{each.step.text}  (gas {about} {show_coin(each.fee_wei)})")
    if len(quotes) > 1:
        say(f"together {show_coin(sum(each.fee_wei for each in quotes))} of gas at most")
    for line in (*facts, *([OLD_FORM] if any(each.old_form for each in quotes) else [])):
        say(line)
    for line in doubts:
        say(f"! {line}")


def _plan(each: Quote) -> dict[str, Any]:
    return {
        "call": each.step.call.label,
        "text": each.step.text,
        "to": each.step.call.to,
        "fee": coin(each.fee_wei),
        "estimated": each.estimated,
    }


async def _send(desk: Desk, transactions: Any, step: Step, key: str, how: How) -> dict[str, Any]:
    waiting(f"sending, then waiting for its block: {step.text}")
    told = False
    while True:
        await transactions.pump()
        state = await transactions.submit(step.call, key=key)
        if isinstance(state, Confirmed):
            if not how.as_json:
                say(f"done in block {state.block}: {step.text}  {state.tx_hash}")
            return {
                "call": step.call.label,
                "hash": state.tx_hash,
                "block": state.block,
                "fee": coin(state.fee),
            }
        if isinstance(state, Reverted):
            raise Refused(f"{step.text}: the contract says no ({state.reason})")
        if isinstance(state, Waiting):
            raise RetryLater(f"{step.text}: {state.message}")
        if not told and transactions.told_by_one(key):
            told = True
            waiting("one endpoint alone tells of it: a second one's word is waited for, 2 minutes")
        await desk.clock.sleep(_LOOK_SECONDS)
