"""Effects that ended in a way nobody foresaw: tried again with growing waits, and told of.

What such an effect was about is still to be done: its job may be slashed if it waits for ever, and
one that is tried each second says the same each second. Forgotten when the effect ends well, when
its job is finished, or when it has not happened for an hour.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.market.model import JobId

FIRST_SECONDS = 5.0  # most are of a moment, and a job has a minute or two to come up
LONGEST_SECONDS = 300.0
REMEMBERED_SECONDS = 3600.0
# What this machine does not give: no bug of ours, and nobody else can mend it.
_WANTING = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
)


@dataclass(frozen=True, slots=True)
class Bug:
    """One effect of one job: `times` in a row, the last at `at`; tried again at `retry_at`.
    `wanting`: this machine did not give what it takes (open files, disk, memory)."""

    job: JobId
    effect: str
    text: str
    times: int
    at: float
    retry_at: float
    wanting: bool = False

    def __str__(self) -> str:
        often = f" ({self.times} times)" if self.times > 1 else ""
        why = "this machine" if self.wanting else "a bug"
        return f"{self.effect} ended by {why}{often}: {self.text}"


@dataclass(slots=True)
class Bugs:
    """The last of each effect, by what may be in flight only once."""

    _by_key: dict[tuple[object, ...], Bug] = field(default_factory=dict)

    def note(
        self, key: tuple[object, ...], job: JobId, effect: str, broken: BaseException, now: float
    ) -> Bug:
        """It happened, again or for the first time."""
        times = self._by_key[key].times + 1 if key in self._by_key else 1
        wait = min(FIRST_SECONDS * 2.0 ** min(times - 1, 10), LONGEST_SECONDS)
        wanting = isinstance(broken, OSError) and broken.errno in _WANTING
        text = str(broken) if wanting else repr(broken)
        bug = Bug(job, effect, text[:200], times, now, now + wait, wanting)
        self._by_key[key] = bug
        return bug

    def well(self, key: tuple[object, ...]) -> None:
        """The effect ended as it should."""
        self._by_key.pop(key, None)

    def forget(self, job: JobId) -> None:
        for key in [key for key, bug in self._by_key.items() if bug.job == job]:
            del self._by_key[key]

    def lately(self, now: float) -> Iterator[Bug]:
        """Those that did not end well since."""
        for bug in self._by_key.values():
            if now - bug.at < REMEMBERED_SECONDS:
                yield bug
