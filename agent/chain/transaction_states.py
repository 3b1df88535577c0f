"""What a transaction is asked to be, and what has become of it, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from agent.market.model import Address, Wei


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction as data. `label` is for people and logs: `reportStarted(12)`. `urgent`: stake
    is lost when it does not go out in time, so it may spend what is kept from others. `wanted` is
    asked once more right before it is signed: seconds pass between deciding and that."""

    to: Address
    data: bytes
    label: str
    gas: int = 0  # 0: what the node estimates, and a quarter more
    urgent: bool = False
    wanted: Callable[[], bool] = field(default=lambda: True, compare=False)


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
    UNWANTED = "unwanted"  # whoever asked for it would not any more


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
    untaken: float = 3.0  # the same where no node took it: most often one was away for a moment
    retry: float = 5.0  # after a Waiting or a simulated revert
    fees_age: float = 3.0
    hearsay: float = 120.0  # for a second endpoint's word on a receipt: twice their longest rest
    alone: float = 1800.0  # for which a second endpoint's word on what is final is waited for
    alone_blocks: int = 1000  # so deep it has to be by the one that speaks
