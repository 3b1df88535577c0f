"""Every command's help ends with an example, and every example is one that the program takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import cli
from commands.examples import EXAMPLES

pytestmark = pytest.mark.unit


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


ALL = dict(commands(get_command(cli.app)))


def test_examples__every_command__has_one_and_shows_it() -> None:
    assert ALL.keys() == EXAMPLES.keys()
    without = [name for name, command in ALL.items() if EXAMPLES[name] not in command.epilog]
    assert not without


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples__each__is_taken_by_its_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.eif").touch()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(EXAMPLES[name])
    if words[0] == "eval":  # a shell line around the command: nothing of the program's to parse
        words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))[1:]
    own = name.split()
    assert words[: len(own)] == own
    context = ALL[name].make_context(name, words[len(own) :])
    assert context.command is ALL[name]


@pytest.mark.parametrize("name", sorted(ALL))
def test_help__of_each__can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a help text are markup to the printer: one that ends nothing is fatal."""
    with pytest.raises(typer.Exit):
        ALL[name].make_context(name, ["--help"])
    assert EXAMPLES[name].split()[-1] in capsys.readouterr().out.replace("\n", " ")
