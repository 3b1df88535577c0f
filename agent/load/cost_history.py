"""What types cost at each moment, as the journal has it (`agent.load.costs` writes the changes)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.journal.lines import COSTED, Event
from agent.journal.reading import Reader
from agent.load.costs import Cost, cost_of


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a type cost the same; unix seconds, without the last."""

    start: float
    end: float
    cost: Cost


@dataclass(frozen=True, slots=True)
class CostHistory:
    """The changes of each type, oldest first."""

    changes: Mapping[str, Sequence[tuple[float, Cost]]] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> CostHistory:
        """All that the journal knows. Raises RetryLater while it is held."""
        return cls.of(reader.own(COSTED))

    @classmethod
    def of(cls, events: Iterable[Event]) -> CostHistory:
        """From lines in their order; those that say nothing are left out."""
        changes: dict[str, list[tuple[float, Cost]]] = {}
        for event in events:
            cost = cost_of(event)
            if cost is not None:
                changes.setdefault(str(event.fields.get("type")), []).append((event.at, cost))
        return cls({kind: sorted(found, key=lambda one: one[0]) for kind, found in changes.items()})

    def spans(self, kind: str, start: float, end: float, now: Cost) -> Iterator[Span]:
        """[start, end) by what the type cost then; before the first change that was written, as
        after it. `now` is what it costs where nothing was ever written."""
        changes = self.changes.get(kind) or [(start, now)]
        at = max(0, bisect_right([when for when, _ in changes], start) - 1)
        while start < end:
            until = changes[at + 1][0] if at + 1 < len(changes) else end
            if until > start:
                yield Span(start, min(until, end), changes[at][1])
            start, at = max(start, until), at + 1
