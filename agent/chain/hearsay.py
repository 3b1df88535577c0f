"""News that one endpoint of several tells alone: it waits until the others were asked again."""

from __future__ import annotations

from agent.chain.pending import Sight
from agent.chain.transaction_log import TxRecord
from agent.clock import passed
from agent.ports import Clock


class Hearsay:
    """Of one account's transactions; none counts for `seconds` after it was first told."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._since: dict[tuple[str, int], float] = {}

    def forget(self, record: TxRecord) -> None:
        """A second one has spoken of it since."""
        self._since.pop((record.key, record.send), None)

    def is_all(self, record: TxRecord, sight: Sight) -> bool:
        """Whether this news of it is one endpoint's alone, and not for long."""
        if not sight.alone:
            return False
        since = self._since.setdefault((record.key, record.send), self._clock.now())
        return not passed(self._clock.now(), since, self._seconds)

    def is_heard_of(self, key: str) -> bool:
        """Whether one endpoint told news of it alone, whatever came of that."""
        return any(heard == key for heard, _ in self._since)
