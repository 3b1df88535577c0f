"""What the agent that runs went by, and what is left to know of a file that is broken."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import load, parse
from agent.config.model import Config
from agent.config.running import FILE, glimpse, keep, running, salvaged
from agent.config.template import render
from tests.agent.config.test_load import BASE

pytestmark = pytest.mark.unit

SPOILT = ('x = "', "[log", "= 5", "chain_id = 0x", "]]", 'y = """', "z = [1,", "\x00", "é: 1")
TEXT = f'{BASE}[status]\nlisten = "127.0.0.1:9999"\n'
LINES = TEXT.splitlines(keepends=True)


@given(st.sampled_from(SPOILT), st.integers(0, len(LINES)))
def test_salvaged__one_line_is_broken__the_others_stand(spoilt: str, at: int) -> None:
    text = "".join([*LINES[:at], f"{spoilt}\n", *LINES[at:]])
    assert salvaged(text) == tomllib.loads(TEXT)


def test_salvaged__a_whole_file__is_what_it_says() -> None:
    text = render({"": {"state_dir": "here"}})
    assert salvaged(text) == tomllib.loads(text)


def test_running__noted_by_an_agent__is_its_text_and_its_address(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    keep(load(file, {}), file, TEXT.replace("127.0.0.1:9999", "127.0.0.1:1"))
    kept = tmp_path / "state" / FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    file.write_text(TEXT + "[log")
    runs = running(file, {})
    assert runs is not None
    assert (runs.status.listen, runs.base) == ("127.0.0.1:9999", tmp_path)
    assert runs.chain == parse(TEXT).chain
    assert repr(runs).count("registry") == repr(parse(BASE)).count("registry"), "no text in a repr"


def test_running__another_state_directory_is_named__is_not_known(tmp_path: Path) -> None:
    """Root goes by what the agent's account wrote, and makes journals where there is none."""
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    keep(load(file, {}), file, TEXT.replace('"state"', '"elsewhere"'))
    assert running(file, {}) is None
    (tmp_path / "state" / FILE).unlink()
    os.mkfifo(tmp_path / "state" / FILE)
    assert running(file, {}) is None, "nobody waits for who writes into it"


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"file": 1, "text": 2, "listen": 3}', "\x00"])
def test_running__what_was_noted_is_none__is_not_known(tmp_path: Path, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_text(said)
    assert running(file, {}) is None


def test_running__another_files_agent__is_not_known(tmp_path: Path) -> None:
    file, other = tmp_path / "config.toml", tmp_path / "other.toml"
    for each in (file, other):
        each.write_text(TEXT)
    keep(load(other, {}), other, TEXT)
    assert running(file, {}) is None


def test_glimpse__no_such_file__is_what_is_usual(tmp_path: Path) -> None:
    seen = glimpse(tmp_path / "nowhere.toml", {})
    assert (str(seen.state), seen.listen) == (Config().state_dir, Config().status.listen)
    assert glimpse(tmp_path / "nowhere.toml", {"OYSTER_STATUS__LISTEN": "x:1"}).listen == "x:1"
