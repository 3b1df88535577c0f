"""The page that walks through the tree names each folder once, and no folder that is not there."""

from __future__ import annotations

import graphlib
import re
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
IMPORTED = (
    "agent",
    "bench",
    "cloud",
    "commands",
    "contracts",
    "devnet",
    "enclave",
    "oyster_provider",
)
PACKAGES = (*IMPORTED, "release", "systemd")
NO_CODE = {"agent/status/page", "agent/journal/migrations/versions", "contracts/artifacts"}
MOST_MODULES = 8  # directly in agent/: what is more belongs into a room

pytestmark = pytest.mark.unit


def _folders() -> set[str]:
    """Every folder of the packages with a module (or a unit) in it, below the root."""
    found = {
        str(file.parent.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("**/*.py", "*.service")
        for file in (ROOT / package).glob(pattern)
    }
    return found - NO_CODE


def _named() -> Counter[str]:
    """Each folder that has its own paragraph in the walk."""
    page = (ROOT / "docs/architecture.md").read_text()
    return Counter(name.rstrip("/") for name in re.findall(r"\*\*`([\w/]+/)`\*\*", page))


def test_architecture__each_folder__has_one_paragraph_and_each_paragraph_a_folder() -> None:
    named = _named()
    del named["tests"]
    assert set(named) == _folders()
    assert {name for name, times in named.items() if times > 1} == set()


def test_agent__modules_outside_of_rooms__are_few() -> None:
    assert len(list((ROOT / "agent").glob("*.py"))) <= MOST_MODULES


def test_imports__of_the_whole_house__run_in_no_circle() -> None:
    """Those for types alone count: who must know a type to be understood, depends on it."""
    graph = grimp.build_graph(*IMPORTED, include_external_packages=False)
    arrows = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError, with the circle
    assert len(arrows) > len(IMPORTED)
