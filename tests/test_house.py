"""The rules of the house that a machine can hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.unit


def test_constraints__every_declared_dependency__is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {_name(requirement) for group in groups for requirement in group}
    assert names <= pinned


def test_constraints__any_line__names_no_host() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_cli__help__imports_nothing_heavy() -> None:
    heavy = "boto3 botocore web3 sqlalchemy httpx cryptography starlette uvicorn moto eth_tester"
    code = f"import cli, sys; print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def _name(requirement: str) -> str:
    for stop in "[=><~! ":
        requirement = requirement.split(stop)[0]
    return requirement.lower().replace("_", "-")
