"""Which nonce is next, and whether an open transaction waits for one that nobody sends.

The account's count is a node's claim. It is believed at once where it fits what we sent; beyond
that the lowest of two nodes counts, and a leap only when it is told for a while. Should one have
been believed all the same, the gap below the open transaction is noticed here. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count

MOST_NONCE = 2**63 - 1  # EIP-2681 allows 2^64 - 2; a store keeps signed 64 bits
LEAP = 16  # transactions that another program may have sent with our key since our last
LEAP_SECONDS = 20.0  # for which a leap is told before it is believed
GAP_SECONDS = 6.0  # a node that lags shows one for as long as that
FILL_MOST = 8  # so many missing nonces are filled; beyond, the transaction is sent anew
_NEVER = -1


def first_free(mined: int, taken: Collection[int]) -> int:
    """The first nonce that is neither in a block nor a record's: what comes after a gap waits for
    it, and one absurd number from a node must not be what all later ones begin at."""
    used = set(taken)
    return next(nonce for nonce in count(mined) if nonce not in used)


@dataclass
class Leap:
    """A count far above what we sent: since when it is told."""

    _since: float | None = None

    def doubted(self, counted: int, expected: int | None, now: float) -> str:
        """Why it is not believed yet; empty: it is. `expected`: one above our highest nonce."""
        if expected is None or counted <= expected + LEAP:
            self._since = None
            return ""
        if self._since is None or now < self._since:
            self._since = now
        if now - self._since >= LEAP_SECONDS:
            return ""
        return f"a node says that the account is at nonce {counted}; by what was sent: {expected}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Nonces from the account's count up to the lowest open one. `since`: when first seen."""

    missing: tuple[int, ...]
    below: int
    since: float

    @property
    def size(self) -> int:
        return self.below - self.missing[0] if self.missing else 0

    def __str__(self) -> str:
        more = f" to {self.below - 1}" if self.size > 1 else ""
        return f"{self.missing[0]}{more}"


@dataclass
class Gaps:
    """What was missing at one look after the other."""

    _since: float = 0.0
    _below: int = _NEVER
    _told: set[int] = field(default_factory=set)

    def look(
        self, counted: int, open_nonces: Sequence[int], taken: Collection[int], now: float
    ) -> Gap | None:
        """The gap below the lowest open nonce now, if there is one."""
        below = min(open_nonces, default=_NEVER)
        near = range(counted, min(below, counted + FILL_MOST + 1))
        missing = tuple(nonce for nonce in near if nonce not in set(taken))
        if not missing:
            self._below = _NEVER
            return None
        if below != self._below or now < self._since:
            self._since, self._below = now, below
        return Gap(missing, below, self._since)

    def first_told(self, gap: Gap) -> bool:
        """Whether nobody was told of it yet."""
        new = gap.below not in self._told
        self._told = {gap.below}
        return new


def is_ripe(gap: Gap, now: float) -> bool:
    """It was there long enough to be none of a node that lags."""
    return now - gap.since >= GAP_SECONDS
