"""The man page has every command and option, and roff finds nothing to say against it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

import cli
from release.manual import _commands, _text, page

pytestmark = pytest.mark.unit

ROOT = get_command(cli.app)


@pytest.fixture(scope="module")
def shown() -> str:
    return page(ROOT, "1.2.3", "2026-01-31").replace(r"\-", "-")


def test_page__each_command__has_its_section_and_example(shown: str) -> None:
    for name, command in _commands(ROOT):
        assert f"\n.SS {name}" in shown
        if command.epilog:
            assert " ".join(command.epilog.split()).replace("\\", r"\e") in shown


def test_page__each_option__is_described(shown: str) -> None:
    options = {
        opt
        for _name, command in _commands(ROOT)
        for each in command.params
        if not getattr(each, "hidden", False) and "--help" not in each.opts
        for opt in each.opts
        if opt.startswith("--")
    }
    assert {opt for opt in options if opt not in shown} == set()
    assert {"--dry-run", "--version"} <= options | {"--version"}


@given(st.text())
def test_text__any_words__are_no_request_to_roff(words: str) -> None:
    line = _text(words)
    assert not line.startswith((".", "'"))
    assert "\n" not in line


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff on this machine")
def test_page__read_by_groff__warns_of_nothing(shown: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"],
        input=page(ROOT, "1.2.3", "2026-01-31"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
