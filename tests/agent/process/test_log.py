"""Levels reach the journal; elsewhere lines are as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.process.log import PRIORITIES, is_journal, prefixed

pytestmark = pytest.mark.unit

SCRIPT = """
import structlog
from agent.config import Config
from agent.process.log import configure_log, say_error
configure_log(Config())
log = structlog.get_logger()
log.info("a.fact", n=1)
log.warning("a.warning")
try:
    raise KeyError("x")
except KeyError:
    log.exception("a.bug")
say_error("the end\\nof it")
"""


@pytest.mark.parametrize("journal", [True, False])
def test_log__standard_error_is_the_journal__each_line_has_its_level_and_no_time(
    tmp_path: Path, journal: bool
) -> None:
    with (tmp_path / "err").open("wb") as err:
        found = os.fstat(err.fileno())
        stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"} if journal else {}
        environ = {**os.environ, **stream}
        subprocess.run([sys.executable, "-c", SCRIPT], stderr=err, env=environ, check=True)
    lines = (tmp_path / "err").read_text().splitlines()
    marks = [line[:3] for line in lines]
    if journal:
        assert marks == ["<6>", "<4>", "<3>", "<3>"]
        assert not any("timestamp" in line for line in lines)
        assert lines[-1] == "<3>error: the end of it"
    else:
        assert not any(mark.startswith("<") for mark in marks)
        assert lines[0].startswith("timestamp=")


@given(st.text(), st.sampled_from(sorted(PRIORITIES)))
def test_prefixed__any_text__each_line_the_journal_reads_has_the_level(
    text: str, level: str
) -> None:
    mark = f"<{PRIORITIES[level]}>"
    assert all(line.startswith(mark) for line in prefixed(text, level).split("\n"))
    assert prefixed(text, level).replace(mark, "") == text.replace(mark, "")


def test_is_journal__another_file_or_none__is_not(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as stream:
        assert not is_journal(stream, {"JOURNAL_STREAM": "8:1"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": "8:1"})  # closed
