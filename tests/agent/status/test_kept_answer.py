"""A costly answer is written once a second, however many ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.status.kept_answer import KEEP_SECONDS, KeptAnswer
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit


async def test_body__asked_by_many__is_written_once_until_it_is_old() -> None:
    clock, written = StandingClock(100.0), []

    def taken() -> Callable[[], dict[str, Any]]:
        written.append(clock.at)
        number = len(written)
        return lambda: {"number": number}

    answer = KeptAnswer(clock, taken)
    bodies = await asyncio.gather(*(answer.body() for _ in range(50)))
    assert set(bodies) == {b'{"number":1}'}
    clock.at += KEEP_SECONDS
    assert json.loads(await answer.body()) == {"number": 2}
    clock.at -= 3600  # a clock that was set back keeps nothing for an hour
    assert json.loads(await answer.body()) == {"number": 3}
    assert len(written) == 3


async def test_body__whose_writing_failed__is_written_anew() -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("no")

    makes = [broken, lambda: {"fine": 1}]
    answer = KeptAnswer(StandingClock(5.0), lambda: makes.pop(0))
    with pytest.raises(ValueError, match="no"):
        await answer.body()
    assert await answer.body() == b'{"fine":1}'
