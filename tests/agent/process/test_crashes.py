"""A crash loop slows down and never gives up; what an operator starts by hand waits for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.process.crashes import (
    FREE_STARTS,
    MOST_SECONDS,
    WINDOW_SECONDS,
    note_start,
    pause_before,
)

pytestmark = pytest.mark.unit

TIMES = st.lists(st.floats(-1e6, 1e6), max_size=40)


@given(TIMES, st.floats(-1e6, 1e6))
def test_pause__any_history__is_bounded_and_grows_with_every_start(
    starts: list[float], now: float
) -> None:
    pause = pause_before(starts, now)
    assert 0 <= pause <= MOST_SECONDS
    assert pause <= pause_before([*starts, now], now) <= max(2 * pause, 2.0)


def test_pause__a_process_that_dies_at_once__is_started_once_a_minute_in_the_end() -> None:
    starts, now = list[float](), 0.0
    for _ in range(200):
        now += 2.0 + pause_before(starts, now)
        starts.append(now)
    in_the_last_hour = [at for at in starts if now - at < 3600]
    assert 50 <= len(in_the_last_hour) <= 62
    assert starts[FREE_STARTS - 1] <= 2.0 * FREE_STARTS


def test_note__under_systemd__counts_over_restarts_and_forgets_after_the_window(
    tmp_path: Path,
) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    assert [note_start(float(n), environ) for n in range(7)] == [0, 0, 0, 0, 0, 2.0, 4.0]
    assert note_start(WINDOW_SECONDS + 7, environ) == 0


@pytest.mark.parametrize("text", ["", "{}", "[[]]", '["x", null]', "\x00"])
def test_note__a_broken_file__is_no_history(tmp_path: Path, text: str) -> None:
    (tmp_path / "starts.json").write_text(text)
    assert note_start(1.0, {"RUNTIME_DIRECTORY": str(tmp_path)}) == 0


def test_note__nobody_restarts_us__waits_for_nothing() -> None:
    assert [note_start(1.0, {}) for _ in range(9)] == [0] * 9
