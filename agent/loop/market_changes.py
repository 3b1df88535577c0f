"""What only a market's administrator can change: the token that pays, the code that is run.

A provider agreed to neither. So a change is said loudly, and no new job is taken until a person has
looked and lets offers be open again (`resume`); what runs, runs on. What was seen first is kept in
the journal, so that a change while no agent ran is found at the next start.
"""

from __future__ import annotations

import structlog

from agent.journal.lines import MARKET_CHANGED, MARKET_SEEN, Event
from agent.journal.orders import Line, OrderKind
from agent.loop.state import LoopState

log = structlog.get_logger()


class MarketChanges:
    """Looks when it is told to; remembers through the journal alone."""

    def __init__(self, state: LoopState) -> None:
        self._state = state

    async def look(self) -> None:
        """Compare with what was agreed to. Raises RetryLater."""
        market = self._state.sources.market
        if not market.abilities.administered:
            return
        told = dict(await market.fixed((await market.blocks()).head))
        seen, changed = await self._last(MARKET_SEEN), await self._last(MARKET_CHANGED)
        if not told or (seen is not None and seen[1].fields == told):
            return
        known = changed is not None and changed[1].fields == told
        if seen is None or (changed is not None and known and self._resumed_since(*changed)):
            await self._note(MARKET_SEEN, told, 20)
        elif not known:
            await self._note(MARKET_CHANGED, told, 40)
            now = self._state.now()
            why, place = {"why": MARKET_CHANGED}, self._state.orders.place
            await self._state.aside(lambda: place(now, OrderKind.PAUSE, None, "agent", why))

    async def _last(self, name: str) -> tuple[int, Event] | None:
        return await self._state.aside(lambda: self._state.reader.newest_own(name))

    def _resumed_since(self, number: int, line: Event) -> bool:
        resumed = self._state.world.memory.orders.resumed
        return resumed is not None and resumed.follows(Line(number, line.at))

    async def _note(self, name: str, told: dict[str, str], level: int) -> None:
        text = ", ".join(f"{what} {value}" for what, value in sorted(told.items()))
        log.log(level, name, text=text)
        self._state.world.journal.event(
            Event(self._state.now(), name, level=level, text=text, fields=told)
        )
        await self._state.world.journal.caught_up()
