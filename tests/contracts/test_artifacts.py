"""What is committed is what the sources say."""

from __future__ import annotations

import json

import pytest

import contracts
from contracts.compile import ARTIFACTS, CONTRACTS, compile_contract, render

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", CONTRACTS)
def test_artifact__committed__is_what_the_source_compiles_to(name: str) -> None:
    assert (ARTIFACTS / f"{name}.json").read_text() == render(compile_contract(name))


def test_abi__committed__is_what_the_package_gives() -> None:
    names = {entry.get("name") for entry in contracts.abi(contracts.REGISTRY)}
    assert {"requestJob", "JobAssigned", "params"} <= names
    assert contracts.bytecode(contracts.TEST_TOKEN).startswith("0x")


def test_registry__deployed__fits_the_limit_of_contract_size() -> None:
    """EIP-170: 24,576 bytes; the initcode is the code and some more."""
    code = json.loads((ARTIFACTS / "IsolatedInstanceRegistry.json").read_text())["bytecode"]
    assert len(code) // 2 < 24_576
