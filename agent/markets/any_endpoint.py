"""A read that goes on to the next endpoint where what one answers can't be.

Endpoints are left for another when they refuse. One that answers, and whose answer is no state that
a market can have, is found out where it is decoded: it must not keep everything from being read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, Self, TypeVar

import structlog

from agent.chain.endpoints import Endpoints
from agent.chain.rpc import NodeRefused, Reader
from agent.markets.retry import later

log = structlog.get_logger()


class Readable(Protocol):
    """A market's reads, through all endpoints or a single one."""

    @property
    def reader(self) -> Reader: ...

    def through(self, reader: Reader) -> Self: ...


M = TypeVar("M", bound=Readable)
T = TypeVar("T")


async def by_any(market: M, read: Callable[[M], Awaitable[T]]) -> T:
    """What `read` makes of the first endpoint's answers that it takes. Raises RetryLater."""
    with later():
        try:
            return await read(market)
        except NodeRefused as refused:
            if not isinstance(market.reader, Endpoints) or market.reader.count < 2:
                raise
            log.info("chain.odd_answer", error=str(refused))
            return await market.reader.first(lambda node: read(market.through(node)))
