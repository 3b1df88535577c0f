"""Tables at a terminal of 80 columns: what one copies stays whole."""

from __future__ import annotations

import io
import sys

import pytest

from commands.terminal import print_table

pytestmark = pytest.mark.unit

TYPE = "us-east-1/c6a.24xlarge"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (
            ("type", "price", "configured", "rank", "of", "cheapest other", "left after cost"),
            (TYPE, "4.0839 tUSD/h", "cost * 1.15, undercut 1%", 1, 14, "4.0 tUSD/h", "+0.0120"),
        ),
        (
            ("job", "type", "state", "price", "what comes next", "escrow"),
            (1234567, TYPE, "bootstrapping", "0.17 tUSD/h", "slash point in 1 min 2 s", "9.99"),
        ),
        (("check", "verdict", "found"), ("quotas us-east-1/c6a.24xlarge", "fail", "words " * 40)),
    ],
)
def test_table__at_80_columns__folds_nothing_that_is_copied(
    columns: tuple[str, ...], row: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(columns, [row], empty="")
    lines = screen.getvalue().splitlines()
    copied = [str(cell) for name, cell in zip(columns, row, strict=True) if name in
              ("type", "job", "check")]  # fmt: skip
    for cell in copied:
        assert any(cell in line for line in lines), (cell, lines)
    assert lines[0].strip(), "no blank line before"
    assert lines[-1].strip(), "nor after"
