"""What to send to whoever wants word of trouble, and when to be silent. Pure: health in, words out.

A trouble is told once it has lasted, again only after a long while, and when it is over; never more
messages an hour than asked for. Whatever is held back stands in the next one, by its count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.status.health import STANDBY, Grade, Health, Part

HOUR = 3600.0
_RANK = {Grade.OK: 0, Grade.WARN: 1, Grade.FAIL: 2}
AT_ONCE = frozenset({"jobs", "terminations"})  # each is a stake: not waited for


@dataclass(frozen=True, slots=True)
class WordRules:
    """`least`: the least grade that is told. Times in seconds."""

    least: Grade = Grade.WARN
    lasting_seconds: float = 60.0
    repeat_seconds: float = 6 * HOUR
    per_hour: int = 10


@dataclass(frozen=True, slots=True)
class Message:
    """One message; a title of one line, a body of some."""

    title: str
    body: str


@dataclass(slots=True)
class _Trouble:
    since: float
    text: str
    told_at: float | None = None


@dataclass(slots=True)
class Word:
    """Remembers what was told. Lost with the process: then what lasts is told once more."""

    _open: dict[tuple[str, str, str], _Trouble] = field(default_factory=dict)
    _sent: list[float] = field(default_factory=list)
    _held_back: int = 0

    def look(self, health: Health, now: float, rules: WordRules) -> list[Message]:
        """What is to be sent now; counts as sent."""
        self._sent = [at for at in self._sent if 0 <= now - at < HOUR]
        said = [*self._over(health, rules), *self._new(health, now, rules)]
        room = max(0, rules.per_hour - len(self._sent))
        sent = [self._with_held_back(each) for each in said[:room]]
        self._held_back += len(said[room:])
        self._sent += [now] * len(sent)
        return sent

    def _new(self, health: Health, now: float, rules: WordRules) -> Iterator[Message]:
        for part in _bad(health, rules):
            known = self._open.setdefault(_key(part), _Trouble(now, part.line))
            known.text = part.line
            lasted = part.kind in AT_ONCE or now - known.since >= rules.lasting_seconds
            again = known.told_at is None or now - known.told_at >= rules.repeat_seconds
            if lasted and again:
                known.told_at = now
                yield Message(f"oyster-provider: {_title(part)}", part.line)

    def _over(self, health: Health, rules: WordRules) -> Iterator[Message]:
        bad = {_key(part) for part in _bad(health, rules)}
        for key in [key for key in self._open if key not in bad]:
            gone = self._open.pop(key)
            if gone.told_at is not None and key[0] not in AT_ONCE:
                name = " ".join(filter(None, key[:2]))
                yield Message(f"oyster-provider: {name} is well again", f"It was: {gone.text}")

    def _with_held_back(self, message: Message) -> Message:
        if not self._held_back:
            return message
        more, self._held_back = self._held_back, 0
        return Message(message.title, f"{message.body}\n({more} more were held back; see `status`)")


def _bad(health: Health, rules: WordRules) -> Iterator[Part]:
    """That another host leads is no trouble: a message each six hours would be of nothing."""
    told = (part for part in health.parts if part.kind != STANDBY)
    return (part for part in told if _RANK[part.grade] >= max(1, _RANK[rules.least]))


def _key(part: Part) -> tuple[str, str, str]:
    """What is one trouble: of jobs each harm is another, of all else its words may change."""
    return (part.kind, part.name, part.text if part.kind in AT_ONCE else "")


def _title(part: Part) -> str:
    what = " ".join(filter(None, (part.kind, part.name)))
    return f"{what}: {'not ready' if part.grade is Grade.FAIL else 'look'}"
