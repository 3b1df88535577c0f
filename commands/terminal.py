"""What the commands share: options by the same names, tables, questions.

A person gets tables and colours, a pipe gets tab-separated lines that stay as they are, `--json`
one JSON value. A question is only asked of a terminal; without one, `--yes` must be given.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from faults import Refused, UsageFault, printable

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The configuration; else $OYSTER_CONFIG, else the one in /etc."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, only.")]


def print_json(value: Any) -> None:
    """One JSON value; what JSON does not know is printed as text."""
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A table on a terminal, tab-separated lines (with a head) in a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(_plain(cell) for cell in row))
        return
    if not rows:
        typer.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    Console().print(table)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Name and value, a line each."""
    width = max((len(name) for name, _ in facts), default=0) + 2
    for name, value in facts:
        plain = _plain(value)
        typer.echo(f"{name:<{width}}{plain}" if sys.stdout.isatty() else f"{name}\t{plain}")


def agree(question: str, *, yes: bool) -> None:
    """Returns when the person agrees. Raises Refused when not, UsageFault when nobody is there."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageFault("nobody is there to ask; add --yes to go on, or --dry-run to look first")
    if not typer.confirm(question, err=True):
        raise Refused("not agreed; nothing was done")


def _plain(cell: object) -> str:
    """Without what moves the cursor or breaks the line: users of the market write some of it."""
    text = "-" if cell is None else str(cell)
    return printable(text)
