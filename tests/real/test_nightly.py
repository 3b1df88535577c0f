"""The page of the last results has one row a target, whatever the runs said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.real.nightly import _ROW, _SUMMARY, PAGE, TARGETS, Result, where, with_row

pytestmark = pytest.mark.unit

results = st.builds(
    Result, st.sampled_from((*TARGETS, "fuzz")), st.floats(0, 4e9), st.just("0123456789ab"),
    st.integers(0, 3), st.text("ab| 19", max_size=9), st.floats(0, 1e4), st.just("here"),
)  # fmt: skip


@given(st.lists(results, max_size=6))
def test_page__any_runs__has_the_last_one_of_each_target(runs: list[Result]) -> None:
    head = "# The last results\n\n| target | when |\n|---|---|\n"
    page = head
    for run in runs:
        page = with_row(page, run)
    last = {run.target: run.row() for run in runs}
    assert {found["target"]: found[0] for found in _ROW.finditer(page)} == last
    assert page.startswith(head.rstrip())
    assert len(page.strip().splitlines()) == 4 + len(last)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("======= 17 passed, 4 skipped in 905.22s (0:15:05) =======\n", "17 passed, 4 skipped"),
        (
            "=== 1 failed, 10 passed, 4 errors in 182.06s (0:03:02) ===",
            "1 failed, 10 passed, 4 errors",
        ),
        ("tests/real/test_nitro.py ....... [ 50%]", None),
    ],
)
def test_summary__of_pytest__is_read(line: str, said: str | None) -> None:
    found = _SUMMARY.search(line)
    assert (found and found["said"]) == said


def test_page__as_it_is__has_a_row_of_each_target() -> None:
    assert {found["target"] for found in _ROW.finditer(PAGE.read_text())} >= set(TARGETS)


def test_where__says_how_busy_the_machine_was() -> None:
    assert re.search(r"\d cores, load \d+$", where())
