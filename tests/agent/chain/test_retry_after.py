"""How long nodes ask to be left alone, in all the ways in which they write it; and the pace."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.pace import BATCH_LIMIT, BatchSize, Pace
from agent.chain.retry_after import MOST_SECONDS, asked_wait

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7), ({"retry-after": "0.5"}, 0.5), ({"retry-after": "7s"}, 7),
        ({"retry-after": formatdate(NOW + 9, usegmt=True)}, 9),
        ({"retry-after": formatdate(NOW - 9, usegmt=True)}, 0),
        ({"retry-after": "900"}, MOST_SECONDS), ({"retry-after": "-3"}, None),
        ({"retry-after-ms": "1500"}, 1.5), ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset": "12"}, 12), ({"x-ratelimit-reset": f"{NOW + 12:.0f}"}, 12),
        ({"x-ratelimit-reset": f"{(NOW + 12) * 1000:.0f}"}, 12),
        ({"x-rate-limit-reset": f"{NOW + 3:.0f}"}, 3), ({"ratelimit-reset": "4"}, 4),
        ({"x-ratelimit-reset-after": "1.25"}, 1.25), ({"retry-after": "soon"}, None),
        ({"retry-after": "10, 20"}, 10), ({"retry-after": "1" * 400}, None), ({}, None),
    ],
)  # fmt: skip
def test_asked_wait__in_a_header__is_seconds_from_now(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_wait(headers, "", None, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("too many requests, try again in 10 seconds", 10), ("retry after 500ms", 0.5),
        ("please wait 2 minutes", MOST_SECONDS), ("Retry in 1.5s.", 1.5), ("retry in 3 sec", 3),
        ("wait for 250 milliseconds", 0.25), ("in 10 blocks", None), ("15/second limit", None),
        ("back within 1h", MOST_SECONDS), ("", None),
    ],
)  # fmt: skip
def test_asked_wait__in_words__is_seconds(text: str, seconds: float | None) -> None:
    assert asked_wait({}, text, None, NOW) == seconds


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        ({"rate": {"allowed_rps": 1, "backoff_seconds": 30, "current_rps": 1.4}}, 30),
        ({"retry_after": 2}, 2), ({"retryAfterMs": 300}, 0.3), ({"try_again_in": True}, None),
        ("0x", None), ([1], None), ({"rate": {"retry_after": float("nan")}}, None),
    ],
)  # fmt: skip
def test_asked_wait__in_an_error_s_data__is_seconds(data: object, seconds: float | None) -> None:
    assert asked_wait({}, "", data, NOW) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "date", "x-ratelimit-reset"]), st.text()))
def test_asked_wait__whatever_headers_hold__is_bounded(headers: dict[str, str]) -> None:
    found = asked_wait(headers, headers.get("date", ""), headers, NOW)
    assert found is None or 0 <= found <= MOST_SECONDS


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 100), st.booleans()), max_size=60))
def test_pace__whatever_a_node_takes__a_request_goes_out_within_a_minute(
    looks: list[tuple[float, int, bool]],
) -> None:
    pace, now = Pace(), NOW
    for after, requests, refused in looks:
        now += after
        wait = pace.wait(now)
        assert 0 <= wait <= MOST_SECONDS
        now += wait
        pace.sends(min(requests, pace.most(BATCH_LIMIT)), now)
        if refused:
            pace.refused(now, None)
        else:
            pace.took(requests, now)
        assert pace.rate is None or pace.rate > 0


def test_pace__refused_for_minutes_and_well_again__is_as_fast_as_before_within_two() -> None:
    pace, now = Pace(), NOW
    for _ in range(60):
        now += pace.wait(now)
        pace.refused(now, None)
    well = now
    while pace.rate is not None:
        now += pace.wait(now)
        requests = pace.most(BATCH_LIMIT)
        pace.sends(requests, now)
        pace.took(requests, now)
        assert now - well < 120
    assert pace.wait(now) <= 5


def test_pace__the_clock_is_set_back__waits_no_longer_than_before() -> None:
    pace = Pace()
    pace.refused(NOW, 60)
    assert pace.wait(NOW) == 60
    assert pace.wait(NOW - 10**6) == 0


def test_batch_size__a_limit_that_stays__is_tried_ever_more_seldom() -> None:
    size, tries = BatchSize(), 0
    size.shrink(10)
    for _ in range(3000):
        if size.limit > 10:
            tries += 1
            size.shrink(10)
        size.took(size.limit)
    assert 1 <= tries <= 8
    size.took(10)
