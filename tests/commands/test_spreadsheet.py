"""What strangers wrote is text in a spreadsheet, and stays in its cell."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.spreadsheet import cell, write

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+1", "'+1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "\ufffd=1"),
        ("\r\n=1", "\ufffd\ufffd=1"),
        ("us-east-1/c6a.xlarge", "us-east-1/c6a.xlarge"),
        ("-0.031500", "-0.031500"),
        ("0.17", "0.17"),
        (-3, -3),
        (None, None),
        ("", ""),
    ],
)
def test_cell__whatever_it_begins_with__is_text_or_a_number(value: object, shown: object) -> None:
    assert cell(value) == shown


@given(st.text())
def test_write__any_text__is_one_cell_of_one_line_that_computes_nothing(text: str) -> None:
    out = io.StringIO()
    write(out, ("name", "n"), [{"name": text, "n": 1}])
    _header, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert len(rows) == 1
    assert out.getvalue().count("\n") == 2
    assert not rows[0][0].startswith(("=", "+", "@", "\t", "\r"))
