"""The table of who has to agree: every row has its reason, and stands in docs/security.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.decide.who_must_agree import TABLE, Agree, Statement, Until, needs_two

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[3] / "docs/security.md").read_text()


def test_table__every_statement__has_a_row_and_a_reason() -> None:
    assert TABLE.keys() == set(Statement)
    assert all(row.leads_to and row.reason for row in TABLE.values())


@pytest.mark.parametrize("statement", Statement, ids=lambda one: one.name)
def test_page__every_statement__is_told_to_people(statement: Statement) -> None:
    assert f"| {statement.value} |" in PAGE


@pytest.mark.parametrize("statement", Statement, ids=lambda one: one.name)
def test_table__what_is_believed_at_once__needs_nobody_or_can_be_undone(
    statement: Statement,
) -> None:
    row = TABLE[statement]
    assert needs_two(statement) is (row.agree is Agree.TWO)
    assert not (needs_two(statement) and row.until is Until.CLAIM)
