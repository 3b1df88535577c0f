"""What the commands share: options by the same names, tables, questions.

A terminal gets a table of its width, a pipe gets the same columns plain and as wide as they are,
`--json` one JSON value. A question is only asked of a terminal; without one, `--yes` must be given.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

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
SILENT_SECONDS = 2.0
_silent: list[threading.Timer] = []
COPIED = frozenset({"type", "job", "check", "name"})  # columns that people copy from
_FEW = 4  # letters, of what is folded as a last resort
MOST_JOB = 2**63 - 1  # what the journal's file can hold
BelowCostOption = Annotated[
    bool,
    typer.Option("--below-cost", help="Mean a price below cost, or three times off what is known."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, only.")]


def print_json(value: Any) -> None:
    """One JSON value; what JSON does not know is printed as text."""
    _heard()
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str,
    right: Sequence[str] = (),
    breaks: str = "",
) -> None:
    """A table; in a pipe a line a row. `right` names the columns of numbers, `breaks` one whose
    text goes on in a second line behind a slash where the table is too wide otherwise."""
    _heard()
    cells = [[_plain(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in _aligned([list(columns), *cells], [name in right for name in columns]):
            typer.echo(line)
        return
    if not rows:
        typer.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wholes = [column in COPIED or column in right for column in columns]
    room, gap = shutil.get_terminal_size().columns, 1
    if breaks and _width(columns, cells, wholes) > room:
        at, gap = columns.index(breaks), 0
        cells = [[*row[:at], row[at].replace("/", "/\n"), *row[at + 1 :]] for row in cells]
    between = (len(columns) - 1) * (gap + 1) + 2
    widths = _widths([*zip(columns, *cells, strict=True)], wholes, room - between)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, overflow="fold", width=width, justify=side)
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(width=room, height=25)  # else a dumb terminal has 80 columns
    with console.capture() as drawn:
        console.print(table)
    lines = [line.rstrip() for line in drawn.get().splitlines()]
    typer.echo("\n".join(lines).strip("\n"))  # without the blank lines around it


def _widths(columns: Sequence[Sequence[str]], wholes: Sequence[bool], room: int) -> list[int]:
    """Of a table's columns, `room` together: as wide as what is in them. Where that is too wide,
    the widest gives way first: text between its words, then names and words, rather folded than
    cut off."""
    full = [max(len(line) for text in column for line in text.split("\n")) for column in columns]
    words = [
        max(len(word) for text in column for word in text.split() or [""]) for column in columns
    ]
    few = [min(_FEW, width) for width in full]
    widths = list(full)
    for least in (
        [width if whole else word for width, word, whole in zip(full, words, wholes, strict=True)],
        [width if whole else part for width, part, whole in zip(full, few, wholes, strict=True)],
        [1] * len(full),
    ):
        while sum(widths) > room and (wide := [n for n, w in enumerate(widths) if w > least[n]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _width(names: Sequence[str], rows: Sequence[Sequence[str]], wholes: Sequence[bool]) -> int:
    """Of a terminal's table in which nothing is folded but names above columns that may."""
    heads = [name if whole else "" for name, whole in zip(names, wholes, strict=True)]
    return 2 * len(names) + sum(max(map(len, column)) for column in zip(heads, *rows, strict=True))


def _aligned(
    rows: Sequence[Sequence[str]], right: Sequence[bool], *, cut: bool = True
) -> Iterator[str]:
    """Columns two blanks apart; `cut`: without what is blank at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        ]
        line = "  ".join(cells)
        yield line.rstrip() if cut else line


def say(text: str = "", *, err: bool = False) -> None:
    """Print a sentence, or some lines. A terminal gets lines broken between words, since it would
    break them anywhere; what has no blank in it, such as a hash, stays in one piece."""
    _heard()
    stream = sys.stderr if err else sys.stdout
    typer.echo(folded(text, columns()) if stream.isatty() else text, err=err)


def how_many(count: int, what: str) -> str:
    """`what` is the word for one of them."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def columns() -> int:
    """How wide the terminal is."""
    return shutil.get_terminal_size().columns


def folded(text: str, width: int, indent: int | None = None) -> str:
    """Each line of it broken between words, what follows two further in, or `indent`."""
    return "\n".join(chain.from_iterable(_folded(line, width, indent) for line in text.split("\n")))


def _folded(line: str, width: int, indent: int | None) -> Iterator[str]:
    """A word that no line holds stays beside what is before it: the terminal breaks it anyway."""
    lead = len(line) - len(line.lstrip())
    further, end = " " * (lead + 2 if indent is None else indent), 0
    for word in re.finditer(r"\S+", line):
        fits = word.end() <= width or len(further) + len(word[0]) > width
        if end and not fits:
            yield line[:end]
            line = further + line[word.start() :]
            yield from _folded(line, width, len(further))
            return
        end = word.end()
    yield line


def print_entries(
    names: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, last: str = ""
) -> None:
    """A table whose last column is text, of any length and with names in it that people copy: on a
    terminal it goes on below its row, as wide as there is room, once a word does not fit beside.
    `last` names a further column, which always stands below; "" for none. A pipe gets columns."""
    _heard()
    if not sys.stdout.isatty() or not rows:
        print_table([*names, last] if last else names, rows, empty=empty)
        return
    cells = [[_plain(cell) for cell in row] for row in rows]
    leads = [row[: len(names) - 1] for row in cells]
    heads = _aligned([list(names[:-1]), *leads], [False] * len(leads[0]), cut=False)
    head, *begun = [f" {line}  " for line in heads]
    typer.echo(f"{head}{names[-1]}\n {'─' * (columns() - 2)}")
    for begin, row in zip(begun, cells, strict=True):
        typer.echo("\n".join(_entry(begin, row[len(names) - 1], columns())))
        if last and row[-1] and row[-1] != "-":
            typer.echo(folded(f"    → {row[-1]}", columns()))


def _entry(begin: str, text: str, width: int) -> Iterator[str]:
    """In its column while every word of it fits there; from the first that does not, below."""
    words, room = text.split(" "), width - len(begin)
    fits = next((n for n, word in enumerate(words) if len(word) > room), len(words))
    beside = textwrap.wrap(
        " ".join(words[:fits]), room, break_long_words=False, break_on_hyphens=False
    ) or [""]
    yield (begin + beside[0]).rstrip()
    yield from (" " * len(begin) + line for line in beside[1:])
    if fits < len(words):
        yield folded("    " + " ".join(words[fits:]), width, 4)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Name and value, a line each."""
    _heard()
    width = max((len(name) for name, _ in facts), default=0) + 2
    for name, value in facts:
        typer.echo(f"{name:<{width}}{_plain(value)}")


def waiting(text: str) -> None:
    """Say what the silence that follows is for, to whoever sits at a terminal."""
    if sys.stderr.isatty():
        say(f"… {text}", err=True)


@contextmanager
def slow(text: str) -> Iterator[None]:
    """What goes on within may take long: a terminal is told so after SILENT_SECONDS, unless
    something was printed by then."""
    timer = threading.Timer(SILENT_SECONDS, waiting, (text,))
    timer.daemon = True
    _silent.append(timer)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _silent.remove(timer)


def _heard() -> None:
    """Something is printed: nobody wonders any more."""
    for timer in _silent:
        timer.cancel()


def agree(question: str, *, yes: bool, as_json: bool = False) -> None:
    """Returns when the person agrees. Raises Refused when not, UsageFault when nobody can be asked:
    no terminal, or a program reads what is printed."""
    if yes:
        return
    _heard()
    if as_json:
        raise UsageFault("--json does not ask; add --yes to go on, or --dry-run to look first")
    if not sys.stdin.isatty():
        raise UsageFault("nobody is there to ask; add --yes to go on, or --dry-run to look first")
    with _broken_off_by_ctrl_c():
        agreed = typer.confirm(question, err=True)
    if not agreed:
        raise Refused("not agreed; nothing was done")


def agree_again(doubts: Sequence[str], *, asks: bool) -> None:
    """Returns when the person means it all the same. Raises Refused: not, or nobody is asked."""
    if not asks or not sys.stdin.isatty():
        raise Refused(f"{doubts[0]}; if that is meant, add --below-cost")
    with _broken_off_by_ctrl_c():
        said = typer.prompt("This looks like a slip. Type `mean it` to go on", err=True)
    if said != "mean it":
        raise Refused("not agreed; nothing was done")


@contextmanager
def _broken_off_by_ctrl_c() -> Iterator[None]:
    """While a person is asked: asyncio takes the first Ctrl-C for a word to its task, which does
    not hear it before the question is answered."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _plain(cell: object) -> str:
    """Without what moves the cursor or breaks the line: users of the market write some of it."""
    text = "-" if cell is None else str(cell)
    return printable(text)
