"""oyster-provider(1), made from the commands themselves: every one, with its options and example.

`python -m release man > oyster-provider.1`; man(7) macros, so man, mandoc and groff show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from typer.main import get_command

import cli
import program
from release.moment import epoch

NAME = "oyster-provider"
_EXITS = (
    ("0", "fine"),
    ("1", "a bug of this program"),
    ("2", "wrong usage: words of the command line or the configuration"),
    ("3", "refused: not allowed, or going on would do harm"),
    ("4", "unavailable: a node, AWS or an agent did not answer; the same may work later"),
)
_FILES = (
    ("/etc/oyster-provider/config.toml", "the configuration; docs/configuration.md has every key"),
    ("/etc/oyster-provider/credentials/", "secrets, one a file; root alone reads them"),
    ("/etc/oyster-provider/environment", "variables for the service"),
    ("/var/lib/oyster-provider/", "the journal and what is safe to delete beside it"),
)
_ENVIRONMENT = (
    ("OYSTER_CONFIG", "the configuration where --config is absent"),
    ("AWS_...", "as every AWS tool takes them"),
)


def page(root: Any, version: str, date: str) -> str:
    """The whole page; `root` is the group of all commands."""
    lines = [
        f'.TH OYSTER-PROVIDER 1 "{date}" "{_text(NAME)} {_text(version)}"',
        ".SH NAME",
        rf"{_text(NAME)} \- serve Marlin Oyster jobs on AWS Nitro enclaves",
        ".SH SYNOPSIS",
        *_synopsis(),
        ".SH DESCRIPTION",
        _text(root.help),
        ".SH OPTIONS",
        *_options(root, typer.Context(root, info_name=NAME)),
        ".SH COMMANDS",
        *(line for name, command in _commands(root) for line in _command(name, command)),
        ".SH EXIT STATUS",
        *_list(_EXITS),
        ".SH FILES",
        *_list(_FILES),
        ".SH ENVIRONMENT",
        *_list(_ENVIRONMENT),
    ]
    return "\n".join(lines) + "\n"


def _synopsis() -> list[str]:
    return [f".B {_text(NAME)}", r"[\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]"]


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, under its whole name, in the order of the help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{above}{name} ")
        elif not command.hidden:
            yield f"{above}{name}", command


def _command(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"{NAME} {name}")
    pieces = " ".join(command.collect_usage_pieces(context)[1:])
    yield f".SS {_text(f'{name} {pieces}'.rstrip())}"
    yield _text(" ".join((command.help or "").split()))
    yield from _options(command, context)
    if command.epilog:
        yield from (".PP", _text(command.epilog))


def _options(command: Any, context: typer.Context) -> Iterator[str]:
    shown = (each.get_help_record(context) for each in command.get_params(context))
    yield from _list([record for record in shown if record and "--help" not in record[0]])


def _list(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    for term, said in pairs:
        yield from (".TP", f".B {_text(term)}", _text(said))


def _text(words: str) -> str:
    """As roff takes it: no control line, no escape, hyphens that can be copied."""
    escaped = " ".join(words.split()).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def made() -> str:
    """The page of this program, dated by its commit."""
    date = datetime.fromtimestamp(epoch(), UTC).date().isoformat()
    return page(get_command(cli.app), program.version(), date)
