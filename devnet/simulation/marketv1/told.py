"""MarketV1 as one node tells of it: reads at a block and logs, with the node's own opinions.

Of the lies of `devnet.simulation.opinions` those that this contract's reads can tell. About half of
our jobs are lied about, by the lie's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_utils.crypto import keccak

import contracts
from devnet.simulation.blocks import Block
from devnet.simulation.marketv1.model import CLOSED, RATE_LOCK, Job, Lock, State, job_id
from devnet.simulation.names import OTHER, US
from devnet.simulation.opinions import INVENTED, WIRE_ONLY, Lie, Views
from devnet.simulation.people import DENIED
from devnet.simulation.protocol import NOBODY, Refusal
from devnet.simulation.wire.contract import Told
from devnet.simulation.wire.words import Words

WORDS = Words(contracts.MARKETV1, contracts.TEST_TOKEN)
TOKEN = "0x5555555555555555555555555555555555555555"
EXTRA_DECIMALS = 12

# What can be said of this contract; the others speak of stakes, starts and generations.
WAYS = (
    Lie.FINAL_TIME, Lie.FINAL_EARLY, Lie.POOR, Lie.ENDED, Lie.UNKNOWN, Lie.FOREIGN,
    Lie.OTHER_IMAGE, Lie.OTHER_OWNER, Lie.HIDDEN, Lie.INVENTED, Lie.NOTICE,
    *sorted(WIRE_ONLY - {Lie.PAGES}),
)  # fmt: skip


@dataclass
class MarketV1Told(Told):
    """Answers are ABI-encoded, made once for each state of a job."""

    wait_seconds: int = field(kw_only=True)
    _rows: dict[int, tuple[Job, str]] = field(default_factory=dict)
    _locks: dict[bytes, int] = field(default_factory=dict)  # the ids by their locks' keys

    def view(self, block: Block, data: bytes) -> str:
        name, args = self.words.called(data)
        if name == "jobs":
            return self._job(block.state, int.from_bytes(args[0], "big"))
        if name == "locks":
            lock = self._lock(block.state, args[0])
            return self.words.answered("locks", lock.unlock_time, lock.rate)
        return self.words.answered(name, self._value(block.state, name))

    def _value(self, state: State, name: str) -> Any:
        match name:
            case "jobIndex":
                return self._opened(state)
            case "token":
                return TOKEN
            case "EXTRA_DECIMALS":
                return EXTRA_DECIMALS
            case "lockWaitTime":
                return self.wait_seconds
            case "symbol":
                return "USDC"
            case "decimals":
                return 6
        raise Refusal(f"{name} is not of this model")

    def _opened(self, state: State) -> int:
        if self.views.empty:
            return 0
        if self.views.lie is Lie.INVENTED:
            return state.opened + INVENTED
        if self.views.lie is Lie.HIDDEN:
            known = [n for n, job in state.jobs.items() if job.last_settled < self.views.since]
            return max(known, default=-1) + 1
        return state.opened

    def _job(self, state: State, number: int) -> str:
        true = state.jobs.get(number, CLOSED)
        told = self._opinion(state, number, true)
        if told is not true:
            return self.words.answered("jobs", *told.row())
        known = self._rows.get(id(true))
        if known is None:
            known = self._rows[id(true)] = (true, self.words.answered("jobs", *true.row()))
        return known[1]

    def _opinion(self, state: State, number: int, true: Job) -> Job:
        views = self.views
        if views.empty or (views.lie is Lie.HIDDEN and number >= self._opened(state)):
            return CLOSED
        if views.lies and true.owner != NOBODY:
            return CLOSED if hash((number, views.lies)) % 5 < 2 else true
        if views.lie is Lie.INVENTED and state.opened <= number < state.opened + INVENTED:
            return _invented(state, int(views.since))
        change = _JOBS.get(views.lie) if views.lie else None
        if change is None or true.provider != US or not _concerns(views, number):
            return true
        return change(true)

    def _lock(self, state: State, key: bytes) -> Lock:
        for number in range(len(self._locks), state.opened):
            self._locks[keccak(bytes.fromhex(RATE_LOCK) + job_id(number))] = number
        number = self._locks.get(key, -1)
        lie = self.views.lie is Lie.NOTICE and _concerns(self.views, number)
        if lie and state.jobs.get(number, CLOSED).provider == US:
            return Lock(int(self.views.since), 0)
        return Lock(0, 0) if self.views.empty else state.locks.get(number, Lock(0, 0))

    def hides(self, block: Block, topics: Sequence[str]) -> bool:
        if self.views.lie is not Lie.HIDDEN or len(topics) < 2:
            return False
        return int(topics[1], 16) >= self._opened(block.state)

    def invents(self, args: tuple[Any, ...]) -> bool:
        return self.views.lie is Lie.INVENTED


def _concerns(views: Views, number: int) -> bool:
    return hash((number, views.size)) % 2 == 0


def _invented(state: State, since: int) -> Job:
    """As an honest one, of a known owner: the newest good job once more."""
    ours = [job for job in state.jobs.values() if job.provider == US and job.rate]
    model = ours[-1] if ours else CLOSED
    return replace(model, balance=10_000 * model.rate // 10**12, last_settled=since)


def _other_image(job: Job) -> Job:
    """Another of the images that are known."""
    swapped = job.metadata.replace("ipfs://image0", "ipfs://image1")
    if swapped == job.metadata:
        swapped = job.metadata.replace("ipfs://image", "ipfs://image1")
    return replace(job, metadata=swapped)


_JOBS: Mapping[Lie, Callable[[Job], Job]] = {
    Lie.POOR: lambda job: replace(job, balance=1),
    Lie.ENDED: lambda job: CLOSED,
    Lie.UNKNOWN: lambda job: CLOSED,
    Lie.FOREIGN: lambda job: replace(job, provider=OTHER),
    Lie.OTHER_IMAGE: _other_image,
    Lie.OTHER_OWNER: lambda job: replace(job, owner=DENIED),
}
