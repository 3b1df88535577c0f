"""Comma-separated tables that a spreadsheet opens without computing what strangers wrote."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from faults import printable

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FORMULA = ("=", "+", "-", "@")  # how a cell begins that a spreadsheet computes


def cell(value: object) -> object:
    """A value as text where it is text: what users and markets name may begin like a formula, or
    end a line. Numbers stay numbers, negative ones too."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def write(out: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """A header and the rows."""
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
