"""Every command of the tree: --json, and --dry-run where something changes."""

from __future__ import annotations

from typing import Any

import pytest

from .tree import COMMANDS

pytestmark = pytest.mark.unit

# Commands without --json, and why.
NO_JSON = {
    "run": "prints nothing: its log goes to stderr, its state is served by status.listen",
    "setup": "asks a person; scripts use init",
    "demo": "a play for people; its exit code is the answer",
    "service reload": "prints nothing: the unit runs it, and its exit code is the answer",
    "devnet env": "its output is shell code for eval",
    "cloud policy": "its output is a JSON document already",
}
# Commands that send a transaction, or order the agent to: they show it first.
SENDS = {
    "pause",
    "resume",
    "exit",
    "stake",
    "unstake",
    "register",
    "offers set",
    "offers remove",
    "contracts deploy",
    "provider add",
    "provider update",
    "provider remove",
}
CHANGES_AWS = {"cloud setup", "cloud teardown", "cloud bake", "takeover"}
CHANGES_HOST = {"setup", "init", "import", "service install", "service uninstall"}


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_tree__walked__is_whole() -> None:
    assert len(COMMANDS) > 35
    assert not (set(NO_JSON) | SENDS | CHANGES_AWS | CHANGES_HOST) - set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_help__of_any_command__is_broken_by_the_terminal_alone_and_loses_no_brackets(
    path: str,
) -> None:
    help = COMMANDS[path].help or ""
    assert "[" not in help, "a terminal's markup"
    assert all("\n" not in paragraph for paragraph in help.split("\n\n"))


@pytest.mark.parametrize("path", COMMANDS)
def test_json__every_command_that_prints__has_it(path: str) -> None:
    assert ("--json" in _options(COMMANDS[path])) != (path in NO_JSON)


@pytest.mark.parametrize("path", COMMANDS)
def test_dry_run__every_command_that_changes_the_world__has_it(path: str) -> None:
    changes = path in SENDS | CHANGES_AWS | CHANGES_HOST
    assert ("--dry-run" in _options(COMMANDS[path])) == changes


@pytest.mark.parametrize("path", sorted(SENDS))
def test_yes__every_command_that_sends__asks_without_it(path: str) -> None:
    assert {"--yes", "--dry-run", "--json"} <= _options(COMMANDS[path])


@pytest.mark.parametrize("path", COMMANDS)
def test_help__every_option__says_what_it_is(path: str) -> None:
    silent = [p.name for p in COMMANDS[path].params if not getattr(p, "help", "")]
    assert silent == []
