"""What goes wrong in a wire storm only, beside everything else: pools, receipts, fees, kills."""

from __future__ import annotations

import random
from collections.abc import Callable

from devnet.simulation.stage import Stage
from devnet.simulation.storm_troubles import Kind, Trouble
from devnet.simulation.wire.chain import GWEI, WireChain


def forget(stage: Stage, _trouble: Trouble) -> None:
    """Every node's pool is lost at this moment."""
    _chain(stage).forget()


def _hide(stage: Stage, trouble: Trouble, on: bool) -> None:
    for node in stage.nodes[: 1 + trouble.size % 2]:
        node.hides_receipts = on


def _refuse(stage: Stage, trouble: Trouble, on: bool) -> None:
    for node in stage.nodes[: 1 + trouble.size % 2]:
        node.refuses = on


def _rise(stage: Stage, trouble: Trouble, on: bool) -> None:
    """Beyond what was bid; sometimes beyond what the agent bids at most."""
    times = random.Random(trouble.size).choice([4, 8, 8, 20, 150])
    _chain(stage).base_fee = GWEI * (times if on else 1)


def _chain(stage: Stage) -> WireChain:
    assert isinstance(stage.chain, WireChain)
    return stage.chain


MOMENTS: dict[Kind, Callable[[Stage, Trouble], None]] = {
    Kind.POOL_FORGETS: forget,
}
SWITCHES: dict[Kind, Callable[[Stage, Trouble, bool], None]] = {
    Kind.RECEIPTS_HIDDEN: _hide,
    Kind.SEND_REFUSED: _refuse,
    Kind.FEES_RISE: _rise,
}
