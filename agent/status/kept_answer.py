"""An answer that is costly to write, kept for a moment: thousands of rate cards are a megabyte.

Whoever asks meanwhile gets the same bytes, and all that ask at once wait for one writing of it,
which is done beside the loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from agent.clock import passed
from agent.ports import Clock

KEEP_SECONDS = 1.0


class KeptAnswer:
    """One JSON document. `taken` takes what it is made of, on the loop, and gives what makes it."""

    def __init__(self, clock: Clock, taken: Callable[[], Callable[[], dict[str, Any]]]) -> None:
        self._clock = clock
        self._taken = taken
        self._body = b""
        self._at = 0.0
        self._writing = asyncio.Lock()

    async def body(self) -> bytes:
        """The document's bytes, at most KEEP_SECONDS old when they were asked for."""
        async with self._writing:
            if not self._body or passed(self._clock.now(), self._at, KEEP_SECONDS):
                self._at, make = self._clock.now(), self._taken()
                self._body = await asyncio.to_thread(_written, make)
            return self._body


def _written(make: Callable[[], dict[str, Any]]) -> bytes:
    return json.dumps(make(), separators=(",", ":")).encode()
