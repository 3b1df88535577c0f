"""A long list goes out in parts: it is one JSON document, and the loop runs in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.long_answer import ROWS, in_parts

pytestmark = pytest.mark.unit

words = st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text()), max_size=4)


async def whole(head: dict[str, Any], rows: Iterator[Any]) -> list[bytes]:
    return [part async for part in in_parts(head, "jobs", rows)]


@given(words, st.integers(0, 3 * ROWS))
def test_parts__together__are_one_json_document(head: dict[str, Any], many: int) -> None:
    rows = [{"id": number, "note": 'a "quoted" word'} for number in range(many)]
    parts = asyncio.run(whole(head, iter(rows)))
    assert json.loads(b"".join(parts)) == {**head, "jobs": rows}


def test_parts__of_many_rows__let_others_run_before_more_rows_are_made() -> None:
    turns = 0
    seen: list[int] = []

    def rows() -> Iterator[int]:
        for number in range(10 * ROWS):
            seen.append(turns)
            yield number

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        beside = asyncio.create_task(others())
        await whole({}, rows())
        beside.cancel()

    asyncio.run(main())
    assert max(seen.count(turn) for turn in set(seen)) == ROWS
