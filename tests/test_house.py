"""The rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trees import tree

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.unit


def test_cli__help__imports_nothing_heavy() -> None:
    heavy = "boto3 botocore web3 sqlalchemy httpx cryptography starlette uvicorn moto eth_tester"
    code = f"import cli, sys; print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


# Functions of libraries that fail a test by themselves.
JUDGES = frozenset({"raises", "fail", "warns", "run_state_machine_as_test"})
FOLDERS = (
    "agent",
    "bench",
    "cloud",
    "commands",
    "contracts",
    "devnet",
    "enclave",
    "oyster_provider",
    "release",
    "tests",
)


def _sources() -> Iterator[Path]:
    yield from ROOT.glob("*.py")
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def test_exceptions_to_a_rule__each_of_them__names_the_rule_and_the_reason() -> None:
    code = r"(?:\[[\w, -]+\]|: [A-Z]+\d+(?:, [A-Z]+\d+)*)"
    marks = re.compile(rf"# (?:type: ignore|noqa)(?!{code} +[#-] ?\w).*")
    found = {
        f"{path.relative_to(ROOT)}: {mark}"
        for path in _sources()
        if path != Path(__file__)
        for mark in marks.findall(path.read_text())
    }
    assert found == set()


def test_tests__each_of_them__can_fail() -> None:
    """It asserts, or calls what does."""
    calls: dict[str, set[str]] = {}
    judges = set(JUDGES)
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(tree(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                calls.setdefault(node.name, set()).update(_called(node))
                if any(isinstance(each, ast.Assert | ast.Raise) for each in ast.walk(node)):
                    judges.add(node.name)
    while more := {name for name, called in calls.items() if called & judges} - judges:
        judges |= more
    assert {name for name in calls if name.startswith("test_")} - judges == set()


def _called(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            yield ast.unparse(call.func).rpartition(".")[2]
