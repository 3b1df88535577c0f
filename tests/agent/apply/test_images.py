"""When an image that could not be had is asked for again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply.context import RETRY_SECONDS
from agent.apply.images import LONGEST_PAUSE_SECONDS, _failed
from faults import RetryLater, TryElsewhere
from tests.clocks import MovingClock

pytestmark = pytest.mark.unit

NOW = 1_750_000_000.0
WORLD: Any = SimpleNamespace(clock=MovingClock(NOW))


@given(asked=st.none() | st.floats(0, 1e6), left=st.floats(-10, 1e5))
def test_failed__whatever_a_gateway_asks_for__half_of_the_time_is_left(
    asked: float | None, left: float
) -> None:
    """One that wants five minutes does not know of a job that has two."""
    fault = RetryLater("busy", after_seconds=asked)
    wait = _failed(WORLD, "ipfs://x", fault, NOW + left).retry_at - NOW
    assert wait <= max(RETRY_SECONDS, left / 2) + 1e-6
    if asked is not None and asked <= left / 2:
        assert wait == pytest.approx(asked, abs=1e-6)


def test_failed__without_a_deadline_or_a_wish__waits_as_ever() -> None:
    assert _failed(WORLD, "x", TryElsewhere("x")).retry_at == NOW + RETRY_SECONDS
    assert _failed(WORLD, "x", RetryLater("x", after_seconds=300)).retry_at == NOW + 300


@given(st.floats(0, 1e7))
def test_failed__for_long__is_tried_again_more_rarely_and_never_rarer_than_each_minute(
    failing: float,
) -> None:
    wait = _failed(WORLD, "x", TryElsewhere("x"), since=NOW - failing).retry_at - NOW
    assert RETRY_SECONDS - 1e-6 <= wait <= LONGEST_PAUSE_SECONDS + 1e-6
    if failing < 300:
        assert wait == pytest.approx(RETRY_SECONDS, abs=1e-6)
    if failing > 3600:
        assert wait == pytest.approx(LONGEST_PAUSE_SECONDS, abs=1e-6)
