"""Places: against a model, and what one neighbour can do to another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from enclave.host.network.shares import STILL_SECONDS, Lane, Shares

pytestmark = pytest.mark.unit

PLACES = 12
LANES = ("in-1300", "in-443", "out-9000")
ADDRESSES = ("a", "b", "c", "d")


class Places(RuleBasedStateMachine):
    """What the process does with its places; every connection is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: Shares[int] = Shares(PLACES)
        self.held: dict[int, tuple[str, str, float]] = {}
        self.now, self.next = 0.0, 0
        for name in LANES:
            self.shares.lane(name)

    @rule(name=st.sampled_from(LANES), address=st.sampled_from(ADDRESSES))
    def connect(self, name: str, address: str) -> None:
        if not self.shares.room(name):
            before = dict(self.held)
            found = self.shares.victim(name, address, self.now)
            if found is None:
                mine = sum(one[:2] == (name, address) for one in self.held.values())
                others = [self._count(name, other) for other in ADDRESSES]
                assert mine == max(others), "only who has most already is refused"
                return
            lane, number = found
            assert before[number][0] == lane
            self.leave(number)
        self.next += 1
        self.held[self.next] = (name, address, self.now)
        self.shares.lane(name).join(self.next, address, self.now)

    def leave(self, number: int) -> None:
        name, address, _ = self.held.pop(number)
        self.shares.lane(name).leave(number, address)

    def _count(self, name: str, address: str) -> int:
        return sum(one[:2] == (name, address) for one in self.held.values())

    @rule(data=st.data(), later=st.floats(0, 2 * STILL_SECONDS))
    def bytes_move(self, data: st.DataObject, later: float) -> None:
        self.now += later
        if self.held:
            number = data.draw(st.sampled_from(sorted(self.held)))
            name, address, _ = self.held[number]
            self.held[number] = (name, address, self.now)
            self.shares.lane(name).moved(number, address, self.now)

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        if self.held:
            self.leave(data.draw(st.sampled_from(sorted(self.held))))

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.shares.open == len(self.held) <= PLACES
        for name in LANES:
            lane = self.shares.lane(name)
            assert lane.most() == max(self._count(name, address) for address in ADDRESSES)
            still = {number for number, _ in lane.still(self.now)}
            assert still == {
                number
                for number, (of, _, last) in self.held.items()
                if of == name and last < self.now
            }

    @invariant()
    def every_lane_can_have_its_own(self) -> None:
        for name in LANES:
            if self.shares.lane(name).open < self.shares.own:
                assert self.shares.room(name)


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=60)


def _fill(shares: Shares[str], name: str, address: str, count: int, now: float = 0.0) -> int:
    for number in range(count):
        if not shares.room(name):
            return number
        shares.lane(name).join(f"{address}-{number}", address, now)
    return count


def test_room__another_lane_takes_all_it_can__own_places_are_left() -> None:
    shares: Shares[str] = Shares(100)
    shares.lane("in-1300")
    assert _fill(shares, "in-443", "hog", 1000) == 75
    assert _fill(shares, "in-1300", "agent", 1000) == 25


def test_victim__one_address_has_all__the_newcomer_takes_its_stillest() -> None:
    shares: Shares[str] = Shares(10)
    _fill(shares, "in-443", "hog", 10)
    shares.lane("in-443").moved("hog-0", "hog", 5.0)
    assert shares.victim("in-443", "guest", 6.0) == ("in-443", "hog-1")
    assert shares.victim("in-443", "hog", 6.0) is None
    assert shares.victim("in-443", "hog", STILL_SECONDS) == ("in-443", "hog-1")


def test_victim__everybody_has_one__the_stillest_of_all_gives_way() -> None:
    shares: Shares[str] = Shares(3)
    for number, address in enumerate("abc"):
        shares.lane("in-443").join(address, address, float(number))
    shares.lane("in-443").moved("a", "a", 3.0)
    assert shares.victim("in-443", "d", 4.0) == ("in-443", "b")


def test_victim__lanes_came_later__they_take_from_the_widest() -> None:
    shares: Shares[str] = Shares(10)
    _fill(shares, "in-443", "hog", 10)
    shares.lane("in-1300")
    assert shares.victim("in-1300", "agent", 1.0) == ("in-443", "hog-0")


@given(st.lists(st.sampled_from(ADDRESSES), max_size=50))
def test_lane__all_leave_again__nothing_is_kept(addresses: list[str]) -> None:
    lane: Lane[int] = Lane()
    for number, address in enumerate(addresses):
        lane.join(number, address, 0.0)
    for number, address in enumerate(addresses):
        lane.leave(number, address)
    assert (lane.open, lane.most(), lane._of, lane._having) == (0, 0, {}, {})
