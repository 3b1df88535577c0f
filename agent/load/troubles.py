"""What fails again and again, told when it begins and then more and more rarely.

An effect that fails is tried again every few seconds, for each job, for as long as a bucket or a
node is away: the tries go on at their pace, a line for each would bury everything else on the
timeline and count as trouble of its own for whoever watches the lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PAUSE_SECONDS = 60.0  # from the first line of an outage to the second; then twice as long
LONGEST_PAUSE_SECONDS = 3600.0
OVER_SECONDS = 900.0  # what has not failed for so long fails anew; no try waits longer
TEXTS = 4  # other reasons of one outage that are told at once: some have an id or a time in them

Key = tuple[object, ...]


@dataclass(slots=True)
class _Trouble:
    told_at: float
    failed_at: float
    pause: float = FIRST_PAUSE_SECONDS
    tries: int = 1
    texts: set[str] = field(default_factory=set)

    def over(self, now: float) -> bool:
        return not 0 <= now - self.failed_at < OVER_SECONDS  # a clock that was set back, too


@dataclass(slots=True)
class Troubles:
    """By what fails: a job's effect, at one place."""

    _by_key: dict[Key, _Trouble] = field(default_factory=dict)
    _cleaned_at: float = 0.0

    def again(self, key: Key, now: float) -> bool:
        """Whether it has failed lately."""
        trouble = self._by_key.get(key)
        return trouble is not None and not trouble.over(now)

    def note(self, key: Key, text: str, now: float) -> int:
        """It failed: how often in a row by now where that is to be told, 0 where it is not."""
        trouble = self._by_key.get(key)
        if trouble is None or trouble.over(now):
            self._clean(now)
            self._by_key[key] = _Trouble(now, now, texts={text})
            return 1
        trouble.tries, trouble.failed_at = trouble.tries + 1, now
        fresh = text not in trouble.texts and len(trouble.texts) < TEXTS
        if not fresh and now - trouble.told_at < trouble.pause:
            return 0
        if fresh:
            trouble.texts.add(text)
        else:
            trouble.pause = min(trouble.pause * 2, LONGEST_PAUSE_SECONDS)
        trouble.told_at = now
        return trouble.tries

    def _clean(self, now: float) -> None:
        """Once in a while: thousands of jobs may fail in one second, each for the first time."""
        if 0 <= now - self._cleaned_at < OVER_SECONDS:
            return
        self._cleaned_at = now
        for key in [key for key, trouble in self._by_key.items() if trouble.over(now)]:
            del self._by_key[key]
