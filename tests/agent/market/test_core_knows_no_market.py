"""What decides, acts and turns asks a market's Terms and Abilities, and never its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
AGENT = TREE / "agent"
ROOMS = ("decide", "load", "apply", "loop")
NAMES = re.compile(r"market[ _]?v1|registry|marlin", re.IGNORECASE)
# A comparison with a market's name, whichever way round and in whichever words.
NAMED = r"""["'](?:registry|marketv1)["']"""
COMPARED = re.compile(rf"(?:==|!=|\bin|\bis) *\(?{NAMED}|{NAMED} *(?:==|!=|\bin\b)|case {NAMED}")
# Where a name chooses the adapter itself, the set-up's questions or the devnet's contract.
CHOOSE = {
    "agent/wiring/markets.py", "commands/init.py", "commands/setup.py", "commands/demo.py",
    "commands/setup_marketv1.py", "commands/setup_registry.py", "commands/devnet_jobs.py",
}  # fmt: skip

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


def compared(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if COMPARED.search(line)]


def test_name__of_a_market__is_compared_with_where_its_adapter_is_chosen_alone() -> None:
    """Elsewhere Abilities are asked, and of settings `agent.config.presets.MARKETS`."""
    files = [*AGENT.rglob("*.py"), *(TREE / "commands").rglob("*.py")]
    found = {str(file.relative_to(TREE)) for file in files if compared(file.read_text())}
    assert found <= CHOOSE, sorted(found - CHOOSE)
    assert found >= CHOOSE, "it chooses no more: take it off the list"


@pytest.mark.parametrize(
    "line",
    [
        'if config.chain.market == "marketv1":',
        "x = 'registry' != kind",
        'case "marketv1":',
        'if kind in ("registry", "other"):',
    ],
)
def test_comparison__in_any_words__is_found(line: str) -> None:
    assert compared(line)


@pytest.mark.parametrize("word", ["MarketV1", "market_v1", "registry", "Marlin's", "market v1"])
def test_word__of_a_market__is_found(word: str) -> None:
    assert NAMES.search(f"as on {word} alone")
