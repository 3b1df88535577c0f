"""Every command of the program, by its words, read off the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

import cli


def _walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Typer brings its own Click, whose classes have no public name: told apart by `commands`."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from _walk(below, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(_walk(get_command(cli.app)))
