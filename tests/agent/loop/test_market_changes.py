"""A token or code that the administrator changed: no new job until a person let them be taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.aside import at_once
from agent.journal.engines import open_file
from agent.journal.lines import MARKET_CHANGED, MARKET_SEEN
from agent.journal.orders import OrderKind, Orders
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.loop.market_changes import MarketChanges
from agent.loop.state import LoopState
from agent.market.model import BlockRef
from agent.market.terms import Abilities
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.registry.terms import RegistryTerms
from agent.ports import Blocks
from tests.agent.samples import BLOCK

pytestmark = pytest.mark.unit

FIRST, OTHER = {"token": "0xA", "code": "0xB"}, {"token": "0xA", "code": "0xC"}


@dataclass
class Market:
    """The two things of a market that are looked at here."""

    told: dict[str, str]
    abilities: Abilities = MarketV1Terms.abilities
    asked: int = 0

    async def blocks(self) -> Blocks:
        return Blocks(BLOCK, BLOCK)

    async def fixed(self, at: BlockRef) -> dict[str, str]:
        self.asked += 1
        return self.told


@dataclass
class World:
    """An agent's state, as far as it is asked for; `restart` forgets all but the journal."""

    journal: Journal
    market: Market
    now: float = 100.0
    changes: MarketChanges = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.memory = SimpleNamespace(orders=SimpleNamespace(resumed=None))
        state: Any = SimpleNamespace(
            sources=SimpleNamespace(market=self.market), reader=Reader(self.journal.engine),
            aside=at_once,
            world=SimpleNamespace(memory=self.memory, journal=self.journal),
            orders=Orders(self.journal.engine), now=lambda: self.now,
        )  # fmt: skip
        self.changes = MarketChanges(cast("LoopState", state))

    async def look(self, told: dict[str, str]) -> list[str]:
        """The kinds of the orders that stand after a look."""
        self.market.told = told
        self.now += 1
        await self.changes.look()
        orders = Orders(self.journal.engine).after()
        return [order.kind for order in orders if order.kind != OrderKind.RESUME]

    def resume(self) -> None:
        self.now += 1
        orders = Orders(self.journal.engine)
        orders.place(self.now - 3600, OrderKind.RESUME, None, "on a host whose clock is behind")
        self.memory.orders.resumed = orders.after()[-1]

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [dict(line.fields) for line in Reader(self.journal.engine).own(name)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    journal = Journal(open_file(tmp_path / "journal.db"))
    yield World(journal, Market(FIRST))
    journal.close()


async def test_market__seen_first__is_what_was_agreed_to(world: World) -> None:
    for _ in range(3):
        assert await world.look(FIRST) == []
    assert world.lines(MARKET_SEEN) == [FIRST]


async def test_change__is_said_once_and_pauses(world: World) -> None:
    await world.look(FIRST)
    for _ in range(3):
        assert await world.look(OTHER) == [OrderKind.PAUSE]
    assert world.lines(MARKET_CHANGED) == [OTHER]


async def test_change__while_no_agent_ran__is_found_at_the_next_start(world: World) -> None:
    await world.look(FIRST)
    world.restart()
    assert await world.look(OTHER) == [OrderKind.PAUSE]
    world.restart()
    assert await world.look(OTHER) == [OrderKind.PAUSE]


async def test_resume__after_it__agrees_to_the_change_and_to_no_later_one(world: World) -> None:
    await world.look(FIRST)
    await world.look(OTHER)
    world.resume()
    assert await world.look(OTHER) == [OrderKind.PAUSE]
    assert world.lines(MARKET_SEEN) == [FIRST, OTHER]
    third = {**OTHER, "token": "0xD"}
    assert await world.look(third) == [OrderKind.PAUSE, OrderKind.PAUSE]


async def test_resume__before_it__agrees_to_nothing(world: World) -> None:
    await world.look(FIRST)
    world.resume()
    await world.look(OTHER)
    await world.look(OTHER)
    assert world.lines(MARKET_SEEN) == [FIRST]


async def test_change__taken_back__is_no_change(world: World) -> None:
    await world.look(FIRST)
    await world.look(OTHER)
    assert await world.look(FIRST) == [OrderKind.PAUSE]
    assert world.lines(MARKET_SEEN) == [FIRST]


async def test_market__that_nobody_can_change__is_not_asked(world: World) -> None:
    world.market.abilities = RegistryTerms.abilities
    await world.look(FIRST)
    assert world.market.asked == 0
