"""One call on a model and on the contract, which must answer alike."""

from __future__ import annotations

from typing import Any, Protocol

from devnet.simulation.protocol import Event, Refusal
from tests.contracts.evm import Reverted


class Modelled(Protocol):
    """What every model has."""

    def call(self, sender: str, function: str, *args: Any) -> list[Event]: ...


class Deployed(Protocol):
    """What every market on an EVM has."""

    def send(self, sender: str, function: str, *args: Any) -> list[Event]: ...


def same(model: Modelled, deployed: Deployed, sender: str, function: str, *args: Any) -> str | None:
    """The reason of the revert on both, which may be empty; None: both took it, with equal logs."""
    expected, reason = _modelled(model, sender, function, args)
    events, refused = _deployed(deployed, sender, function, args)
    assert (refused, events) == (reason, expected), f"{function}{args} by {sender}"
    return reason


def _modelled(
    model: Modelled, sender: str, function: str, args: tuple[Any, ...]
) -> tuple[list[Event], str | None]:
    try:
        return model.call(sender, function, *args), None
    except Refusal as no:
        return [], str(no)


def _deployed(
    deployed: Deployed, sender: str, function: str, args: tuple[Any, ...]
) -> tuple[list[Event], str | None]:
    try:
        return deployed.send(sender, function, *args), None
    except Reverted as no:
        return [], no.reason
