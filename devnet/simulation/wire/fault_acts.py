"""What goes wrong in a wire storm only, beside everything else: pools, receipts, fees, kills."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from devnet.simulation.fault_plan import Kind, Trouble
from devnet.simulation.wire.chain import GWEI, WireChain

if TYPE_CHECKING:
    from devnet.simulation.storm import Storm


def forget(storm: Storm, _trouble: Trouble) -> None:
    """Every node's pool is lost at this moment."""
    _chain(storm).forget()


def kill_as_it_sends(storm: Storm, trouble: Trouble) -> None:
    """The agent dies around the next broadcast: before it, or before it hears the answer."""
    storm.lives.kills_send = "before" if trouble.size % 2 else "after"


def _hide(storm: Storm, trouble: Trouble, on: bool) -> None:
    for node in storm.nodes[: 1 + trouble.size % 2]:
        node.hides_receipts = on


def _refuse(storm: Storm, trouble: Trouble, on: bool) -> None:
    for node in storm.nodes[: 1 + trouble.size % 2]:
        node.refuses = on


def _rise(storm: Storm, trouble: Trouble, on: bool) -> None:
    """Beyond what was bid; sometimes beyond what the agent bids at most."""
    times = random.Random(trouble.size).choice([4, 8, 8, 20, 150])
    _chain(storm).base_fee = GWEI * (times if on else 1)


def _chain(storm: Storm) -> WireChain:
    assert isinstance(storm.chain, WireChain)
    return storm.chain


MOMENTS: dict[Kind, Callable[[Storm, Trouble], None]] = {
    Kind.POOL_FORGETS: forget,
    Kind.KILLED_SENDING: kill_as_it_sends,
}
SWITCHES: dict[Kind, Callable[[Storm, Trouble, bool], None]] = {
    Kind.RECEIPTS_HIDDEN: _hide,
    Kind.SEND_REFUSED: _refuse,
    Kind.FEES_RISE: _rise,
}
