"""Which rows of a long table are asked for: words to find, an order, a page. Pure.

What is asked comes from a URL that anybody may have written: it is bounded here, and what makes no
sense asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
PAGE_ROWS = 20  # as many as one looks at; a crowd is found by its words
MOST_ROWS = 200
MOST_WORDS = 8
MOST_TEXT = 100
MOST_FROM = 10_000_000


@dataclass(frozen=True, slots=True)
class Query:
    """`words`: all of them have to be in a row's text; `sort` names a column, "" the order in
    which one wants to see them; `start` counts from 0."""

    words: tuple[str, ...] = ()
    sort: str = ""
    down: bool = False
    start: int = 0
    count: int = PAGE_ROWS

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> Query:
        """From q, sort, down, from and count of a URL."""
        words = asked.get("q", "")[:MOST_TEXT].lower().split()[:MOST_WORDS]
        return cls(
            tuple(words), asked.get("sort", "")[:20], asked.get("down") == "1",
            _number(asked.get("from", ""), 0, MOST_FROM),
            _number(asked.get("count", ""), PAGE_ROWS, MOST_ROWS),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """One page of `found` rows out of `total`; `start` is where it begins, the last page where
    more was asked for than there is; `count` how many a page has."""

    rows: tuple[Row, ...]
    start: int
    count: int
    found: int
    total: int


def find(
    rows: Iterable[Row],
    query: Query,
    text: Callable[[Row], str],
    orders: Mapping[str, Callable[[Row], Any]],
) -> Found[Row]:
    """`orders` gives each column's key; the one named "" is the usual order, and taken where the
    query names none of them."""
    everything = list(rows)
    chosen = everything
    if query.words:
        chosen = [row for row in everything if _has(text(row).lower(), query.words)]
    key = orders.get(query.sort, orders[""])
    chosen = sorted(chosen, key=key, reverse=query.down)
    last = max(0, len(chosen) - 1) // query.count * query.count
    start = min(query.start, last)
    page = tuple(chosen[start : start + query.count])
    return Found(page, start, query.count, len(chosen), len(everything))


def _has(text: str, words: tuple[str, ...]) -> bool:
    return all(word in text for word in words)


def _number(text: str, default: int, most: int) -> int:
    """A whole number from the text, at least 0 (a count: 1) and at most `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return default
    return max(min(int(text), most), 1 if default else 0)
