"""requirements.txt as it is read for the packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from release.wheels import REQUIREMENTS, entries

pytestmark = pytest.mark.unit


def test_entries__of_the_shipped_file__are_one_a_pin_each_with_its_digests() -> None:
    text = REQUIREMENTS.read_text()
    found = entries(text)
    pins = re.findall(r"^([\w.-]+)==", text, re.M)
    assert [entry.split("==")[0] for entry in found] == pins
    assert all("--hash=sha256:" in entry for entry in found)
    assert sum(entry.count("--hash=") for entry in found) == text.count("--hash=")


def test_entries__comments_and_empty_lines__are_none() -> None:
    text = "# a comment\n\na==1 \\\n    --hash=sha256:0\nb==2 \\\n    --hash=sha256:1\n"
    assert [entry.split("==")[0] for entry in entries(text)] == ["a", "b"]
    assert Path(REQUIREMENTS).name == "requirements.txt"
