"""The contracts of both markets (Vyper) and what they compile to.

`artifacts/` is committed, so nothing here needs the compiler at run time; `python -m
contracts.compile` makes it anew from the sources beside this file.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

REGISTRY = "IsolatedInstanceRegistry"
MARKETV1 = "MarketV1"
TEST_TOKEN = "TestToken"  # noqa: S105  # a name, no secret


@cache
def _artifact(name: str) -> dict[str, Any]:
    text = resources.files(__name__).joinpath("artifacts", f"{name}.json").read_text("utf-8")
    artifact: dict[str, Any] = json.loads(text)
    return artifact


def abi(name: str) -> list[dict[str, Any]]:
    """The ABI of `REGISTRY`, `MARKETV1` or `TEST_TOKEN`; FileNotFoundError for another name."""
    entries: list[dict[str, Any]] = _artifact(name)["abi"]
    return entries


def bytecode(name: str) -> str:
    """What a deployment sends before the constructor's arguments: 0x and hex digits."""
    code: str = _artifact(name)["bytecode"]
    return code
