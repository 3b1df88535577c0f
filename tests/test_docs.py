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
