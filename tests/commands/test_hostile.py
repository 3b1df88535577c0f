"""Bad input of every kind to every option of every command: one line, the right code, no trace.

The commands and their parameters are read off the program itself, so a new one is tried as soon as
it is there. What each needs besides comes from its own example.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from commands.examples import EXAMPLES

from .program import oyster_here
from .tree import COMMANDS

pytestmark = pytest.mark.integration

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # public: account 0
NOBODY = "http://127.0.0.1:9"  # the discard port: refuses at once
CONFIG = f"""
state_dir = "state"
[chain]
chain_id = 31337
registry = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
rpc_urls = ["{NOBODY}"]
[wallet]
key_file = "key"
[aws]
regions = ["us-east-1"]
endpoint_url = "{NOBODY}"
[images]
gateways = ["{NOBODY}"]
[[offers]]
type = "us-east-1/c6a.xlarge"
price = "0.17/h"
"""
BAD_CONFIGS = {
    "nowhere.toml": None,
    "folder": None,
    "empty": None,
    "binary": None,
    "broken.toml": "[chain\nchain_id = ",
    "unknown.toml": CONFIG.replace("chain_id", "chian_id"),
    "lists.toml": 'chain = ["x"]\n',
}
BAD_NUMBERS = ("x", "", "-1", "1e400", "9" * 40)
BAD_TEXTS = ("", "\udcff\udcfe", "9" * 400, "\x1b[31m")
BAD_FILES = ("nowhere", "folder", "empty", "binary", "binary/below")
# Looks bad and is not: folders that are made, or that are there.
TAKEN = {
    ("demo", "directory"): {"nowhere", "folder"},
    ("devnet up", "directory"): {"nowhere", "folder"},
    ("devnet image build", "folder"): {"folder"},
    ("service install", "root"): {"folder"},
    ("service uninstall", "root"): {"folder"},
}
LOCAL = {  # end well without any network, or write before they look for it
    "init", "keys new", "keys import", "keys show", "cloud policy", "jobs logs", "image inspect",
    "service install", "service uninstall", "jobs confirm-terminations", "devnet image build",
    "attestation verify", "image fetch", "cloud bake", "demo", "devnet up", "run",
    "config check", "config diff", "runbook",
}  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound configuration, a key, and files of every bad kind."""
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)) * 4)
    for name, text in BAD_CONFIGS.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# `run` says to a service manager what it means; the rest of the commands keep to their four codes.
CODES = {"run": (2, 3, 69, 78)}


class Try:
    """Runs a command and holds the rules: one line, code 2, 3 or 4, nothing written."""

    def __init__(self, desk: Path) -> None:
        self.desk = desk
        self.before = self._files()

    def refused(self, *words: str) -> None:
        done = self.run(*words)
        told = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode in CODES.get(words[0], (2, 3, 4)), told
        assert done.stderr.count("\n") == 1, told
        assert re.fullmatch(r"error: [^\x00-\x1f]{10,600}", done.stderr.removesuffix("\n")), told
        assert self._files() == self.before, f"{shlex.join(words)} wrote something"

    def run(self, *words: str) -> Any:
        environ = {
            "OYSTER_CONFIG": str(self.desk / "config.toml"), "HOME": str(self.desk),
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1",
            "OYSTER_LOG__LEVEL": "error",
        }  # fmt: skip
        return oyster_here(*words, environ=environ)

    def _files(self) -> dict[str, tuple[int, int]]:
        found = sorted(self.desk.rglob("*"))
        return {str(one): (one.stat().st_size, one.stat().st_mtime_ns) for one in found}


def example(path: str) -> list[str]:
    """The words of the command's own example, that ask nothing."""
    text = EXAMPLES[path]
    if text.startswith("eval "):
        return path.split()
    words = shlex.split(text)
    names = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    return [*words, "--yes"] if "--yes" in names and "--dry-run" not in words else words


def required(path: str) -> list[str]:
    """The command with the arguments and options that it cannot do without, from its example."""
    words, own = example(path), path.split()
    command, rest = COMMANDS[path], words[len(own) :]
    options = {name: p for p in command.params for name in p.opts if name.startswith("-")}
    kept, index = list(own), 0
    while index < len(rest):
        word, option = rest[index], options.get(rest[index])
        takes = option is not None and not getattr(option, "is_flag", False)
        part = rest[index : index + (2 if takes else 1)]
        if option is None or option.required or word in ("--yes", "--all"):
            kept += part
        index += len(part)
    return kept


def with_value(path: str, parameter: Any, value: str) -> list[str]:
    """The least command line, with this value for the parameter."""
    words, own = required(path), len(path.split())
    option = next((name for name in parameter.opts if name.startswith("--")), None)
    if option is not None:
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
        return [*words, f"{option}={value}"]
    arguments = [p for p in COMMANDS[path].params if not p.opts[0].startswith("-")]
    place = arguments.index(parameter)
    options = {name: p for p in COMMANDS[path].params for name in p.opts if name.startswith("-")}
    plain, rest, index = list[str](), list[str](), own
    while index < len(words):
        if words[index] in options:
            size = 1 if getattr(options[words[index]], "is_flag", False) else 2
            rest += words[index : index + size]
            index += size
        else:
            plain.append(words[index])
            index += 1
    plain = [*plain, *[""] * (place + 1 - len(plain))]
    plain[place] = value
    return [*words[:own], *rest, "--", *plain]


def kind_of(parameter: Any) -> str:
    return str(parameter.type_descriptor.annotation).lower()


def hostile(parameter: Any) -> tuple[str, ...]:
    kind = kind_of(parameter)
    if getattr(parameter, "is_flag", False) or "bool" in kind:
        return ()
    if "int" in kind or "float" in kind:
        return BAD_NUMBERS
    return BAD_FILES if "path" in kind or "file" in kind else BAD_TEXTS


PARAMETERS = [
    (path, parameter.name)
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.name not in ("help", "config") and hostile(parameter)
]


def test_parameters__of_every_kind__are_found() -> None:
    kinds = {kind_of(parameter) for command in COMMANDS.values() for parameter in command.params}
    assert len(PARAMETERS) > 60, kinds
    assert any("path" in kind for kind in kinds)


@pytest.mark.parametrize(("path", "name"), PARAMETERS, ids=str)
def test_hostile__each_value_of_each_parameter__is_one_line(
    path: str, name: str, desk: Path
) -> None:
    (parameter,) = [each for each in COMMANDS[path].params if each.name == name]
    tried = Try(desk)
    for value in hostile(parameter):
        if value not in TAKEN.get((path, name), set()):
            tried.refused(*with_value(path, parameter, value))


CONFIGURED = [
    path
    for path, command in COMMANDS.items()
    if any(parameter.name == "config" for parameter in command.params)
]


@pytest.mark.parametrize("path", CONFIGURED)
def test_hostile__each_broken_configuration__is_one_line(path: str, desk: Path) -> None:
    tried = Try(desk)
    for name in BAD_CONFIGS:
        tried.refused(*required(path), "--config", name)


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - LOCAL))
def test_hostile__no_network__is_one_line(path: str, desk: Path) -> None:
    Try(desk).refused(*required(path))


@pytest.mark.parametrize("path", COMMANDS)
def test_hostile__words_it_does_not_know__are_one_line(path: str, desk: Path) -> None:
    tried = Try(desk)
    tried.refused(*required(path), "--no-such-option")
    tried.refused(*required(path), *["more"] * 9)
    if any(each.required for each in COMMANDS[path].params):
        tried.refused(*path.split())


@pytest.mark.parametrize("group", ["", "jobs", "devnet job", "cloud"])
def test_hostile__a_command_that_is_not_there__is_one_line(group: str, desk: Path) -> None:
    Try(desk).refused(*group.split(), "nothing")
