"""What the agent ordered, read back from the call that it sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.market.model import JobId, Price
from agent.ports import Call, Order

OrderOf = Callable[[str, tuple[Any, ...]], Order]


def order_of(function: str, args: tuple[Any, ...]) -> Order:
    """The order behind a call of the contract."""
    call = Call(function)
    match call:
        case Call.REGISTER:
            return Order(function, call, instance_type=args[0], price=Price(args[1]))
        case Call.DEREGISTER:
            return Order(function, call, instance_type=args[0])
        case Call.REPORT_STARTED:
            return Order(function, call, job=JobId(args[0]), endpoint=args[1])
        case _:
            return Order(function, call, job=JobId(args[0]))
