"""Every external function says what it does, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import vyper.ast as vy_ast
from vyper.ast.parse import parse_to_ast

import contracts
from contracts.compile import CONTRACTS, SOURCES

pytestmark = pytest.mark.unit

GETTERS = {
    *("name", "symbol", "decimals", "totalSupply", "balanceOf", "allowance"),
    *("EXTRA_DECIMALS", "RATE_LOCK_SELECTOR", "jobIndex", "lockWaitTime", "providers", "token"),
}


def external() -> Iterator[tuple[str, Any]]:
    for source in sorted(SOURCES.glob("*.vy")):
        tree = parse_to_ast(source.read_text())
        for function in tree.get_children(vy_ast.FunctionDef):
            words = {getattr(each, "id", "") for each in function.decorator_list}
            if words & {"external", "deploy"}:
                yield source.stem, function


FUNCTIONS = [
    pytest.param(module, function, id=f"{module}.{function.name}")
    for module, function in external()
    if function.name != "__init__" or module in CONTRACTS
]


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_natspec__external_function__is_whole(module: str, function: Any) -> None:
    text = function.doc_string.value if function.doc_string else ""
    assert "@notice" in text
    documented = [line.split()[1] for line in text.splitlines() if line.strip()[:6] == "@param"]
    assert documented == [argument.arg for argument in function.args.args]
    assert ("@return" in text) == (function.returns is not None)


def test_natspec__the_functions_seen__are_those_of_the_artifacts() -> None:
    named = {
        entry["name"]
        for name in CONTRACTS
        for entry in contracts.abi(name)
        if entry["type"] == "function"
    }
    seen = {function.name for _, function in external()} - {"__init__"}
    assert seen == named - GETTERS


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.vy")), ids=lambda path: path.stem)
def test_natspec__module__has_title_licence_and_notice(source: Any) -> None:
    head = source.read_text().split('"""')[1]
    assert all(word in head for word in ("@title", "@license Apache-2.0", "@notice"))
