"""Which of our calls do not get out to the chain: since when, and in whose words.

For health alone: a report that no node takes costs the stake, and whoever can add a node or raise a
limit has to hear of it. By it is decided only how soon what no node took is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LASTING_SECONDS = 10.0  # a node that lags or is busy is over by then
FORGET_SECONDS = 60.0  # what nobody tried again since is tried no more


@dataclass(frozen=True, slots=True)
class HeldUp:
    """A call, `reportStarted(12)`. Times are unix seconds; `urgent`: the stake hangs on it."""

    call: str
    why: str
    urgent: bool
    since: float
    tried_at: float


@dataclass
class HeldUpCalls:
    """Of one account, by key."""

    _by: dict[str, HeldUp] = field(default_factory=dict)

    def note(self, key: str, call: str, why: str, now: float, *, urgent: bool = True) -> None:
        """It was tried now, and did not get out. What is sent holds up all that comes after it: to
        be `urgent` is for what was not sent yet."""
        known = self._by.get(key)
        since = known.since if known is not None and now >= known.since else now
        tried = {k: one for k, one in self._by.items() if 0 <= now - one.tried_at < FORGET_SECONDS}
        self._by = {**tried, key: HeldUp(call, why, urgent, since, now)}

    def out(self, key: str) -> None:
        """A node has it, or a block."""
        self._by.pop(key, None)

    def has(self, key: str) -> bool:
        return key in self._by

    def lasting(self, now: float) -> list[HeldUp]:
        """Those that are held up for a while, the longest first."""
        alive = (one for one in self._by.values() if 0 <= now - one.tried_at < FORGET_SECONDS)
        lasting = (one for one in alive if now - one.since >= LASTING_SECONDS)
        return sorted(lasting, key=lambda one: one.since)
