"""How long nobody acts when the lease is handed over, by what both agents' logs say.

Both write the machine's own time, however far ahead an agent's clock is.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

_LINE = re.compile(r"^timestamp=(\S+) .*?event=(\S+)", re.MULTILINE)


class HandOver(NamedTuple):
    """Seconds. `whole`: from the last moment in which the old leader could act to the new one's
    first decisions, of which the effects start at once; the others are its parts."""

    whole: float
    to_give_back: float
    to_take: float
    to_decide: float


def hand_over(old: str, new: str) -> HandOver:
    """Of the last one in the log of the host that handed over, and that of the other."""
    yielded = _last(old, "lease.yielded")
    given = next(at for at, name in _lines(old) if name == "lease.given_back" and at >= yielded)
    taken = _last(new, "lease.taken")
    decided = next(at for at, name in _lines(new) if name == "service.decided" and at >= taken)
    return HandOver(decided - yielded, given - yielded, taken - given, decided - taken)


def _last(log: str, wanted: str) -> float:
    return max(at for at, name in _lines(log) if name == wanted)


def _lines(log: str) -> list[tuple[float, str]]:
    return [(datetime.fromisoformat(at).timestamp(), name) for at, name in _LINE.findall(log)]
