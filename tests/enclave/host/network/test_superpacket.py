"""Packets that go along with others: cut again they are what the enclave sent, in its order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.host.network.superpacket import LEAST_PAYLOAD, MOST_BYTES
from tests.enclave.host.network.packets import Cutting, Segment

pytestmark = pytest.mark.unit

FULL = 1448
# Each way in which a segment can differ from what would go along with the one before it.
OTHERWISE: list[dict[str, Any]] = [
    {"flags": 0x11}, {"flags": 0x14}, {"flags": 0x30}, {"flags": 0x50}, {"flags": 0x90},
    {"answer": 2}, {"window": 501}, {"options": bytes(11) + b"x"}, {"options": b""},
    {"options": bytes(40)}, {"to_port": 40001}, {"fragment": 0}, {"tos": 3}, {"ttl": 63},
    {"urgent": 1}, {"body": bytes(FULL + 1)}, {"body": b""}, {"sequence": 7},
]  # fmt: skip


def sent(segments: list[Segment]) -> Cutting:
    """What a device takes of them."""
    device, data = Cutting(), b"".join(one.bytes() for one in segments)
    view, start = memoryview(data), 0
    while start < len(data):
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        _, start = device.write(view, start, length, len(data))
    return device


def row(count: int, size: int = FULL, first: int = 0) -> list[Segment]:
    """A stream's segments, one after the other."""
    return [
        Segment((first + at * size) & 0xFFFFFFFF, bytes([at % 251]) * size, id=at)
        for at in range(count)
    ]


@pytest.mark.parametrize("first", [0, 2**32 - 5 * FULL, 2**32 - 1])
def test_row__of_one_stream__goes_in_writes_of_64_kib(first: int) -> None:
    segments = row(100, first=first)
    device = sent(segments)
    assert device.sent == [one.bytes() for one in segments]
    assert device.writes == 3
    assert (MOST_BYTES - 52) // FULL == 45


@pytest.mark.parametrize("changed", OTHERWISE)
@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_row__one_differs__is_not_merged_and_nothing_changes(
    changed: dict[str, Any], at: int
) -> None:
    segments = row(5)
    segments[at] = replace(segments[at], **changed)
    device = sent(segments)
    assert device.sent == [one.bytes() for one in segments]
    assert device.writes >= 2


def test_row__ends_with_a_short_or_pushed_one__has_it_at_its_end() -> None:
    segments = row(4)
    for end in ({"body": b"x"}, {"flags": 0x18}, {"body": b"xy", "flags": 0x18}):
        ended = [*segments[:3], replace(segments[3], **end)]
        device = sent([*ended, *row(2, first=9999)])
        assert device.sent[:4] == [one.bytes() for one in ended]
        assert device.writes == 2


def test_row__of_small_segments__goes_one_by_one() -> None:
    assert sent(row(9, LEAST_PAYLOAD - 1)).writes == 9
    assert sent(row(9, LEAST_PAYLOAD)).writes == 1


def test_checksum__wrong_by_the_enclave__is_made_right_where_it_is_cut() -> None:
    segments = row(3)
    device = sent([segments[0], replace(segments[1], wrong=1), segments[2]])
    assert device.sent == [one.bytes() for one in segments]


SOME = st.builds(
    lambda changed, size: (changed, size),
    st.sampled_from([*({} for _ in range(3 * len(OTHERWISE))), *OTHERWISE]),
    st.sampled_from([FULL, FULL, FULL, 1, 600, 8961]),
)


@given(drawn=st.lists(SOME, max_size=30), first=st.integers(0, 2**32 - 1))
@example(drawn=[({}, 8961)] * 9, first=0)
def test_any_segments__sent__arrive_as_they_are(
    drawn: list[tuple[dict[str, Any], int]], first: int
) -> None:
    """Ids are the kernel's where several go as one: they mean nothing where nothing may be cut."""
    segments, at = [], first
    for number, (changed, size) in enumerate(drawn):
        one = Segment(at & 0xFFFFFFFF, bytes([number]) * size, id=number)
        segments.append(replace(one, **changed))
        at += len(segments[-1].body)
    assert sent(segments).sent == [one.bytes() for one in segments]
