"""What one endpoint of a storm gets wrong, and every way in which it may lie.

The same functions serve the models of ports and the nodes that speak JSON-RPC: a lie is told of the
model's state as it is asked for, and never changes it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agent.market.model import BlockNumber, BlockRef
from devnet.simulation.names import OTHER, US
from devnet.simulation.protocol import USER_REQUEST, Job, State, Terms

TEN_YEARS = 10 * 365 * 86_400
INVENTED = 40  # jobs
FIRST_INVENTED = 5_001  # beyond every job of a storm
OLDER = 30.0  # seconds: what an endpoint told before its lie is known by then


class Lie(StrEnum):
    """One way to lie, by what is told. Those of `WIRE_ONLY` take JSON-RPC to be told."""

    FINAL_TIME = "the finalized block is of in ten years"
    FINAL_EARLY = "the newest block is final"
    PARAMS = "JobBootstrapping is a second"
    COOL_DOWN = "JobExitCoolDown is nothing"
    POOR = "an escrow is 1"
    ENDED = "a job is stopped"
    UNKNOWN = "there is no such job"
    FOREIGN = "a job is another provider's"
    STARTED = "a job is started that is not"
    NOT_STARTED = "a job is not started that is"
    OTHER_IMAGE = "a job is of another image"
    OTHER_OWNER = "a job is of an owner who is denied"
    LATER = "a job is of another generation"
    SETTLED = "nothing of a job was settled"
    HIDDEN = "new jobs are hidden from lists, logs and reads"
    INVENTED = "forty jobs that are not"
    HEAD_TIME = "the newest block is of in ten years"
    HEIGHT = "the chain is 10^9 blocks high"
    FAR_FINAL = "block 2^62 is final"
    FROZEN = "the chain stands still"
    PAGES = "each page of the list is full"
    REVERTS = "every call reverts"
    ALL_OVER = "all is final in ten years, no job is there, and no list has one"
    UNSETTLED = "a job is settled until another second each time"
    PAID = "a receipt's price is 2^200"
    IN_A_BLOCK = "what waits is in a final block"
    FAILED = "what worked was reverted"
    NO_RECEIPT = "nothing of ours is in a block"
    COUNT_HIGH = "our account is at nonce 10^9"
    COUNT_LOW = "our account is at nonce 0"
    DEAR = "a block takes 2^200 wei"
    RATHER_DEAR = "a block takes 150 gwei, and so does its miner"
    CHEAP = "a block takes nothing"
    GAS_HIGH = "a call takes 2^31 gas"
    GAS_LOW = "a call takes 21,000 gas"
    BROKE = "our account has nothing"
    SWALLOWS = "a transaction is taken, and nobody sees it"
    DECLINES = "each transaction's nonce is too low"
    NOTICE = "a rate of 0 was announced"  # on markets with notices


WIRE_ONLY = frozenset(
    {Lie.HEAD_TIME, Lie.HEIGHT, Lie.FAR_FINAL, Lie.FROZEN, Lie.PAGES, Lie.REVERTS,
     Lie.PAID, Lie.IN_A_BLOCK, Lie.FAILED, Lie.NO_RECEIPT, Lie.COUNT_HIGH, Lie.COUNT_LOW,
     Lie.DEAR, Lie.RATHER_DEAR, Lie.CHEAP, Lie.GAS_HIGH, Lie.GAS_LOW, Lie.BROKE, Lie.SWALLOWS,
     Lie.DECLINES}
)  # fmt: skip
"""The models of ports have no fees, no nonces, no receipts and no gas: these are told by nodes."""


@dataclass(slots=True)
class Views:
    """What an endpoint gets wrong just now; `lie` since second `since` (unix), of about half of the
    jobs by `size`."""

    lag: int = 0
    empty: bool = False
    lies: int = 0  # a number that says about which jobs; 0: it is honest
    deaf: bool = False
    echo: bool = False
    lie: Lie | None = None
    since: float = 0.0
    size: int = 0
    told: int = 0  # how often a lie was told that is another each time


def job(views: Views, state: State, number: int) -> Job | None:
    """The job as this endpoint tells it; None: it says that there is none."""
    found = state.jobs[number - 1] if 1 <= number <= len(state.jobs) else None
    if views.empty:
        return None
    if views.lies and found is not None:
        what = hash((number, views.lies)) % 5
        return None if what == 0 else _stopped(found) if what == 1 else found
    if found is not None and hidden(views, state, number):
        return None
    if views.lie is Lie.INVENTED and found is None:
        return _invented(views, number)
    if views.lie is Lie.ALL_OVER:
        return None
    if views.lie is Lie.UNSETTLED and found is not None and found.started_at:
        views.told += 1
        return _changed(found, settled_until=found.started_at + views.told % 7)
    change = _JOBS.get(views.lie) if views.lie else None
    if change is None or found is None or found.stop_reason or not _concerns(views, found):
        return found
    return change(found)


def active(views: Views, state: State, provider: str) -> list[int]:
    """The numbers that jobsOf lists."""
    if views.empty or views.lie is Lie.ALL_OVER:
        return []
    found = [one.id for one in state.jobs if one.provider == provider and not one.stop_reason]
    if views.lie is Lie.INVENTED and provider == US:
        found += range(FIRST_INVENTED, FIRST_INVENTED + INVENTED)
    return [number for number in found if not hidden(views, state, number)]


def hidden(views: Views, state: State, number: int) -> bool:
    """Whether nothing of this job is told: no list, no log, no read."""
    known = 1 <= number <= len(state.jobs)
    return views.lie is Lie.HIDDEN and known and _new(views, state.jobs[number - 1])


def terms(views: Views, true: Terms) -> Terms:
    """The parameters as told."""
    if views.lie is Lie.PARAMS:
        return replace(true, job_bootstrapping=1, job_startup=1)
    return replace(true, job_exit_cool_down=0) if views.lie is Lie.COOL_DOWN else true


def total_stake(views: Views, true: int) -> int:
    """More than there is, for whoever invents jobs."""
    return true * 10**6 if views.lie is Lie.INVENTED else true


def told(views: Views, block: BlockRef, *, final: bool) -> BlockRef:
    """A block's number, hash and time as told."""
    if views.lie in (Lie.FINAL_TIME, Lie.ALL_OVER) and final:
        return replace(block, timestamp=block.timestamp + TEN_YEARS)
    if views.lie is Lie.HEAD_TIME and not final:
        return replace(block, timestamp=block.timestamp + TEN_YEARS)
    if views.lie is Lie.HEIGHT and not final:
        return replace(block, number=BlockNumber(10**9))
    if views.lie is Lie.FAR_FINAL and final:
        return replace(block, number=BlockNumber(2**62))
    return block


def _concerns(views: Views, one: Job) -> bool:
    """About half of ours; another image only of what was known before, or nobody could tell."""
    if one.provider != US or (views.lie is Lie.OTHER_IMAGE and _new(views, one, OLDER)):
        return False
    return hash((one.id, views.size)) % 2 == 0


def _new(views: Views, one: Job, older: float = 0.0) -> bool:
    return one.assigned_at >= views.since - older


def _changed(one: Job, **fields: Any) -> Job:
    lie = copy.copy(one)
    for name, value in fields.items():
        setattr(lie, name, value)
    return lie


def _stopped(one: Job) -> Job:
    """Its user stopped it, just now."""
    at = max(one.assigned_at, one.settled_until)
    return _changed(one, stop_reason=USER_REQUEST, stopped_at=at, escrow=0)


def _started(one: Job) -> Job:
    if one.started_at:
        return one
    at = one.assigned_at + 1
    return _changed(one, started_at=at, settled_until=at, endpoint="192.0.2.9:1300")


def _image(one: Job) -> Job:
    other = "ipfs://image1" if one.enclave_url == "ipfs://image0" else "ipfs://image0"
    return _changed(one, enclave_url=other)


def _invented(views: Views, number: int) -> Job | None:
    if not FIRST_INVENTED <= number < FIRST_INVENTED + INVENTED:
        return None
    return Job(
        id=number, user=f"0xb{0:039d}", provider=US, instance_type="us-east-1/c6a.xlarge",
        max_price=10**12, price=10**12, enclave_url="ipfs://image2", escrow=10_000,
        generation=1, assigned_at=int(views.since),
    )  # fmt: skip


_JOBS: Mapping[Lie, Callable[[Job], Job | None]] = {
    Lie.POOR: lambda one: _changed(one, escrow=1),
    Lie.ENDED: _stopped,
    Lie.UNKNOWN: lambda one: None,
    Lie.FOREIGN: lambda one: _changed(one, provider=OTHER),
    Lie.STARTED: _started,
    Lie.NOT_STARTED: lambda one: _changed(one, started_at=0, settled_until=0, endpoint=""),
    Lie.OTHER_IMAGE: _image,
    Lie.OTHER_OWNER: lambda one: _changed(one, user=f"0xb{4:039d}"),
    Lie.LATER: lambda one: _changed(
        one, generation=one.generation + 1, started_at=0, settled_until=0
    ),
    Lie.SETTLED: lambda one: _changed(one, settled_until=one.started_at),
}


def lies(*, wire: bool) -> Sequence[Lie]:
    """Every way that can be told over these ports."""
    told = [lie for lie in Lie if lie is not Lie.NOTICE]
    return [lie for lie in told if wire or lie not in WIRE_ONLY]
