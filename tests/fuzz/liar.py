"""A node whose answers are changed by the grammar, and what its readers must make of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agent.secret import SecretUrl
from devnet.chain.node import ChainServer
from faults import Fault, RetryLater, TryElsewhere
from tests.fuzz.budget import examples
from tests.fuzz.odd_json import ANY, as_sent, odd

Json = Any
# What a node's answer may lead to. Not Refused: nobody who reads catches it, it ends the agent, and
# systemd starts no more who ends so.
NODE_S = (RetryLater, TryElsewhere)
MANY = settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Liar:
    """A `Transport` to a true node, whose answers are changed once `data` is there."""

    node: ChainServer
    data: st.DataObject | None = None
    url: SecretUrl = SecretUrl("http://liar")  # noqa: RUF009 - frozen in all but name

    async def exchange(self, body: Json) -> Json:
        true = self.node.answer(as_sent(body))
        if self.data is None or self.data.draw(st.integers(0, 3)) == 0:
            return true
        return as_sent(self.data.draw(odd(true) | ANY))

    async def close(self) -> None:
        """Nothing is open."""


async def worded(asked: Awaitable[Json], faults: tuple[type[Fault], ...]) -> None:
    """Waits for it; a fault of these kinds is one printable line, any other is raised."""
    (fault,) = await asyncio.gather(asked, return_exceptions=True)
    if isinstance(fault, faults):
        assert str(fault).isprintable()
        assert len(str(fault)) < 1000
    elif isinstance(fault, BaseException):
        raise fault


def usable(value: Json) -> None:
    """It can be stored, shown and computed with: numbers that a float holds, text in UTF-8."""
    text = json.dumps(value, default=sorted)
    text.encode()

    def look(each: Json) -> None:
        if isinstance(each, dict):
            look(list(each.values()))
        elif isinstance(each, list | tuple | set | frozenset):
            for one in each:
                look(one)
        elif isinstance(each, str):
            each.encode()
        elif isinstance(each, int):
            float(each)

    look(value)
