"""What decides, acts and turns asks a market's Terms and Abilities, and never its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[3] / "agent"
ROOMS = ("decide", "load", "apply", "loop")
NAMES = re.compile(r"market_?v1|registry|marlin", re.IGNORECASE)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("room", ROOMS)
def test_room__of_the_core__has_no_word_of_either_market(room: str) -> None:
    files = sorted((AGENT / room).rglob("*.py"))
    found = {
        f"{file.relative_to(AGENT)}: {word}"
        for file in files
        for word in NAMES.findall(file.read_text())
    }
    assert files
    assert found == set()
