"""docs/security.md names a test for each attack: each of them is there, and each row has one."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
HEADING = "## Attacks that were played, one by one\n"


def rows() -> list[list[str]]:
    text = (ROOT / "docs/security.md").read_text().split(HEADING)[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [line.strip("| ").split(" | ") for line in lines]


@cache
def _there() -> frozenset[str]:
    found = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return frozenset(name for text in found for name in re.findall(r"def (test_\w+)\(", text))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_attack__each_row__names_tests_that_there_are(row: list[str]) -> None:
    assert len(row) == 3
    named = re.findall(r"`(test_\w+)`", row[2])
    assert named
    assert set(named) - _there() == set()


def test_attacks__of_all_four_kinds__are_listed() -> None:
    kinds = [row[0] for row in rows() if row[0].startswith("**")]
    assert len(kinds) == 4
    assert len(rows()) >= 35
