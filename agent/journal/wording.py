"""A timeline's line in words, for commands and pages: times as times, amounts in their symbol.

What is left raw has no symbol known here: prices stand in the units of the market.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from agent.config.units import show_coin
from agent.journal.lines import SLASHED, Event
from agent.market.model import Price

_LEVELS = {10: "debug", 20: "", 30: "warning", 40: "ERROR", 50: "ERROR"}
MOST_LETTERS = 80
Priced = Callable[[Price], str]


def words(event: Event, priced: Priced | None = None) -> str:
    """One line of a timeline without its time; `priced` says a price in its token, else it stays in
    the market's units."""
    level = _LEVELS.get(event.level, "")
    fields = " ".join(f"{name}={value}" for name, value in said_fields(event, priced))
    return " ".join(filter(None, (level, event.name, event.text, fields)))


def said_fields(event: Event, priced: Priced | None = None) -> Iterator[tuple[str, str]]:
    """Its fields, each by its name and as a person reads it."""
    if event.name == SLASHED:
        return  # its text has the amount, in its symbol
    for name, value in event.fields.items():
        if name.endswith("_wei") and isinstance(value, int | str):
            yield name.removesuffix("_wei"), show_coin(int(value))
        elif name == "price" and priced is not None and str(value).isdecimal():
            yield name, priced(Price(int(value)))
        else:
            yield name, _said(name, value)


def _said(name: str, value: object) -> str:
    """Seconds as a time of day, measurements by their first bytes."""
    if (name == "deadline" or name.endswith("_at")) and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%H:%M:%S")
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{str(each)[:12]}" for key, each in value.items())
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."
