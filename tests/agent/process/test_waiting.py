"""While the world is away the start waits inside; what waiting can't mend ends it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.process.waiting import FIRST_SECONDS, MOST_SECONDS, opened
from agent.sd_notify import Notifier
from faults import Bug, Fault, MustStop, Refused, RetryLater, TryElsewhere, UsageFault
from tests.clocks import MovingClock, StandingClock

pytestmark = pytest.mark.unit


class World:
    """Fails with each of `faults` in turn, then opens."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults, self.closed = list(faults), False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        if self.faults:
            raise self.faults.pop(0)
        yield "world"
        self.closed = True


@pytest.mark.parametrize(
    "away", [RetryLater("node away"), TryElsewhere("no endpoint"), Refused("AWS is not set up")]
)
async def test_opened__the_world_is_away_for_five_minutes__opens_when_it_is_back(
    away: Fault,
) -> None:
    clock, world = MovingClock(0.0), World(*[away] * 13)
    told: list[str] = []

    async def tell(text: str) -> None:
        told.append(text)

    async with AsyncExitStack() as stack:
        assert await opened(world.open, stack, Notifier({}), clock, tell) == "world"
        closed_too_early = world.closed
    assert (closed_too_early, world.closed) == (False, True)
    assert clock.slept[0] == FIRST_SECONDS
    assert clock.slept == sorted(clock.slept)
    assert max(clock.slept) == MOST_SECONDS
    assert clock.at >= 300
    assert told == [f"waiting to start: {away}"] * 13


@pytest.mark.parametrize(
    "fatal", [UsageFault("x"), MustStop("x"), Bug("x"), KeyError("x"), TypeError()]
)
async def test_opened__waiting_mends_nothing__raises_at_once(fatal: BaseException) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(type(fatal)):
            await opened(World(fatal).open, stack, Notifier({}), StandingClock(0.0))


async def test_opened__while_it_waits__systemd_grants_more_time_and_shows_for_what(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(2)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        async with AsyncExitStack() as stack:
            world = World(RetryLater("https://node: no answer"))
            await opened(world.open, stack, notifier, MovingClock(0.0))
        said = [manager.recv(999).decode() for _ in range(3)]
    assert said[0] == "EXTEND_TIMEOUT_USEC=180000000"
    assert said[1].splitlines()[1] == "STATUS=waiting to start: https://node: no answer"
