"""Types that are on offer by the thousand, from a file: which of them to ask the cloud about now.

Each type that jobs are for is asked about in every round, as those of [[offers]] are. Of the others
one a region is, the smallest: when the account's quota leaves no room for it, it leaves none for
any. The rest take turns, since each costs calls the first time. What a turn found stands till the
next; what is refused meanwhile is heeded at once (`agent.load.launch_trouble`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import cycle, islice

from agent.market.model import Price

TURNS = 16  # types a round, which is half a minute: 7,228 take four hours
QUOTA = "quota"  # in the words of what limits a type that the account may not have more of


class Bulk:
    """`prices` are the least ones by type, `smallest` one type a region."""

    def __init__(
        self, prices: Mapping[str, Price] | None = None, smallest: Mapping[str, str] | None = None
    ) -> None:
        self.prices = prices or {}
        self.smallest = smallest or {}
        self._turns = cycle(sorted(self.prices))

    def due(self, used: Collection[str]) -> set[str]:
        """Those to ask about in this round; `used` are types of jobs."""
        turns = islice(self._turns, min(TURNS, len(self.prices)))
        return {*self.smallest.values(), *turns, *(used & self.prices.keys())}
