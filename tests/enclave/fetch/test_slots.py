"""Downloads take turns: whoever trickles keeps nobody waiting. In virtual time."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devnet.simulation.loop import run
from enclave.fetch.slots import TURN_SECONDS, Place, Turns
from enclave.web.guard import Cancelled, Guard, OutOfTime

pytestmark = pytest.mark.unit

STEP = 0.25  # seconds between what a download does
LATE = 3 * STEP + 0.5  # it notices that it shall stop, and who waits is looked after
TRICKLE = 70 << 10
QUICK = 50 << 20
WINDOW = 100_000.0


@dataclass
class Line:
    """Downloads over some slots, and when each began and was done."""

    slots: int
    running: int = 0
    most: int = 0
    begun: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.turns = Turns(self.slots, self.clock)
        self.start = self.clock()

    async def download(
        self, name: str, arrives: float, due: float, size: float, rate: float
    ) -> None:
        """What came in a turn is kept for the next."""
        await asyncio.sleep(arrives)
        place, left = Place(due), size
        guard = Guard(self.clock, self.clock() + WINDOW, WINDOW)
        while left > 0:
            async with self.turns.turn(place, guard) as turn:
                self.begun.setdefault(name, self.clock() - self.start)
                self.running += 1
                self.most = max(self.most, self.running)
                while left > 0 and not turn.cancelled:
                    await asyncio.sleep(STEP)
                    turn.progress(int(rate * STEP))
                    left -= rate * STEP
                self.running -= 1
        self.done[name] = self.clock() - self.start


seconds = st.floats(0, 120)


@given(st.integers(1, 4), st.lists(st.tuples(seconds, seconds), max_size=12), seconds)
def test_turns__hostile_images_trickle__another_is_there_in_bounded_time(
    slots: int, hostile: list[tuple[float, float]], arrives: float
) -> None:
    async def story() -> Line:
        line = Line(slots)
        slow = [
            asyncio.create_task(line.download(f"{n}", when, due, math.inf, TRICKLE))
            for n, (when, due) in enumerate(hostile)
        ]
        await line.download("honest", arrives, 1000.0, 5 * QUICK, QUICK)
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return line

    line = run(story())
    rounds = math.ceil((len(hostile) + 1) / slots)
    assert line.done["honest"] - arrives <= rounds * (TURN_SECONDS + LATE) + 5 + LATE
    assert line.most <= slots


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(seconds, seconds, st.integers(1, 200 << 20), st.integers(1 << 20, QUICK)),
        min_size=1,
        max_size=8,
    ),
)
def test_turns__any_downloads__all_are_done_and_never_too_many_at_once(
    slots: int, downloads: list[tuple[float, float, int, int]]
) -> None:
    async def story() -> Line:
        line = Line(slots)
        await asyncio.gather(*(line.download(f"{n}", *one) for n, one in enumerate(downloads)))
        return line

    line = run(story())
    assert len(line.done) == len(downloads)
    assert line.most <= slots


@given(st.permutations(range(6)))
def test_turns__all_wait_for_their_first__the_closest_deadline_goes_first(due: list[int]) -> None:
    async def story() -> Line:
        line = Line(1)
        busy = asyncio.create_task(line.download("busy", 0, 0, QUICK, QUICK))
        await asyncio.sleep(STEP / 2)
        await asyncio.gather(*(line.download(f"{n}", 0, n, QUICK, QUICK) for n in due), busy)
        return line

    begun = run(story()).begun
    assert sorted(begun, key=lambda name: begun[name]) == ["busy", *map(str, range(6))]


def test_turns__left_or_out_of_time_while_waiting__ends_the_wait_and_frees_the_place() -> None:
    async def story() -> None:
        line = Line(1)
        busy = asyncio.create_task(line.download("busy", 0, 0, QUICK, QUICK))
        await asyncio.sleep(0)
        guard = Guard(line.clock, line.clock() + 0.1, WINDOW)

        async def wait(place: Place) -> None:
            async with line.turns.turn(place, guard):
                raise AssertionError("nobody wants it")

        place = Place(0.0)
        leaver = asyncio.create_task(wait(place))
        await asyncio.sleep(0)
        line.turns.leave(place)
        with pytest.raises(Cancelled):
            await leaver
        with pytest.raises(OutOfTime):
            await wait(Place(0.0))
        await asyncio.gather(busy, line.download("next", 0, 0, QUICK, QUICK))
        assert set(line.done) == {"busy", "next"}

    run(story())
