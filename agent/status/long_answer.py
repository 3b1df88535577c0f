"""A JSON document with a long list in it, written a few rows at a time.

Ten thousand jobs take more than a second to write. In one piece nothing else of the agent would run
meanwhile; in parts the loop waits for one of them at most, and nothing is held whole in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice
from typing import Any

ROWS = 20  # a few milliseconds' worth


async def in_parts(head: Mapping[str, Any], name: str, rows: Iterable[Any]) -> AsyncIterator[bytes]:
    """`head` with `rows` under `name`, as the bytes of one JSON object. Rows are made as they are
    written; others run between two parts."""
    left, comma = iter(rows), ""
    yield _written({**head, name: []})[: -len("]}")].encode()
    while part := list(islice(left, ROWS)):
        yield (comma + ",".join(map(_written, part))).encode()
        comma = ","
        await asyncio.sleep(0)
    yield b"]}"


def _written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
