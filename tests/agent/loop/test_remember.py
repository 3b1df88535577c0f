"""The history of years is read for minutes: the process lives meanwhile, and ends when told to."""

from __future__ import annotations

import asyncio

import pytest

from agent.loop import restore
from agent.loop.restore import _watched
from faults import RetryLater

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "LIFE_SECONDS", 0.0)


async def test_history__that_takes_long__is_no_sign_of_a_loop_that_stands_still() -> None:
    read, signs = asyncio.Event(), list[int]()

    async def reading() -> None:
        await read.wait()

    def lives() -> None:
        signs.append(1)
        if len(signs) == 3:
            read.set()

    await _watched(asyncio.create_task(reading()), asyncio.Event(), lives)
    assert len(signs) >= 3


async def test_history__told_to_end_while_it_is_read__is_not_waited_for() -> None:
    stopping, put = asyncio.Event(), list[str]()

    async def reading() -> None:
        await asyncio.Event().wait()
        put.append("into memory")

    await _watched(asyncio.create_task(reading()), stopping, stopping.set)
    assert put == []


async def test_history__that_can_t_be_read__is_said() -> None:
    async def reading() -> None:
        raise RetryLater("held")

    with pytest.raises(RetryLater, match="held"):
        await _watched(asyncio.create_task(reading()), asyncio.Event(), lambda: None)
