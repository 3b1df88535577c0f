"""What the docs promise about dependencies holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.unit


def test_dependencies__each_declared_one__has_a_reason() -> None:
    text = (ROOT / "docs/decisions/dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {
        re.split(r"[\[=><~! ]", requirement)[0].lower() for group in groups for requirement in group
    }
    without = {name for name in names if name.removeprefix("pytest") not in text}
    assert not without


def _pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links__relative_ones_of_each_page__lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        headings = re.findall(r"^#+ (.*)$", to.read_text(), re.MULTILINE) if anchor else []
        if not to.exists() or (anchor and anchor not in map(_anchor, headings)):
            broken.append(target)
    assert not broken
