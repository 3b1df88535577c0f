"""Searching, sorting and paging: any query is answered, and pages together are the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.finding import MOST_ROWS, PAGE_ROWS, Query, find

pytestmark = pytest.mark.unit

WORDS = st.lists(st.sampled_from(["us", "eu", "c6a", "running", "7"]), max_size=3)
ORDERS = {"": lambda row: row[0], "text": lambda row: row[1]}


@given(st.dictionaries(st.sampled_from(["q", "sort", "down", "from", "count"]), st.text()))
def test_query__anything_in_a_url__is_bounded(asked: dict[str, str]) -> None:
    query = Query.parse(asked)
    assert 1 <= query.count <= MOST_ROWS
    assert query.start >= 0
    assert len(query.words) <= 8
    assert find([(1, "us")], query, str, ORDERS).total == 1


@pytest.mark.parametrize(
    ("asked", "start", "count"),
    [({}, 0, PAGE_ROWS), ({"from": "40", "count": "5"}, 40, 5), ({"from": "-1"}, 0, PAGE_ROWS),
     ({"count": "0"}, 0, 1), ({"from": "9" * 30}, 0, PAGE_ROWS), ({"count": "²"}, 0, PAGE_ROWS)],
)  # fmt: skip
def test_query__numbers__are_whole_and_small(asked: dict[str, str], start: int, count: int) -> None:
    query = Query.parse(asked)
    assert (query.start, query.count) == (start, count)


@given(
    st.lists(st.tuples(st.integers(), st.sampled_from(["us c6a 7", "eu running", "us"]))),
    WORDS, st.sampled_from(["", "text", "nonsense"]), st.booleans(), st.integers(1, 7),
)  # fmt: skip
def test_find__page_after_page__is_every_row_that_has_the_words_once_in_order(
    rows: list[tuple[int, str]], words: list[str], sort: str, down: bool, count: int
) -> None:
    pages: list[tuple[int, str]] = []
    start = 0
    while True:
        query = Query(tuple(words), sort, down, start, count)
        found = find(rows, query, lambda row: row[1], ORDERS)
        pages += found.rows
        start += count
        if start >= found.found:
            break
    wanted = [row for row in rows if all(word in row[1] for word in words)]
    assert sorted(pages) == sorted(wanted)
    keys = [ORDERS.get(sort, ORDERS[""])(row) for row in pages]
    assert keys == sorted(keys, reverse=down)


def test_find__beyond_the_last_page__gives_the_last() -> None:
    found = find(range(45), Query(start=1000), str, {"": int})
    assert (found.start, found.rows[0], found.found) == (40, 40, 45)
