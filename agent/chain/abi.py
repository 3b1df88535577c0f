"""Calls and answers of a contract, from its ABI: bytes out, values in.

Why not web3's contract objects: they decode `string` strictly, so that one user's enclave URL that
is no UTF-8 would make every job of a batch unreadable; and a selector looked up once is cheap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector

from agent.chain.rpc import Json, NodeRefused
from faults import UsageFault


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...]
    wire: tuple[str, ...]  # output types with bytes in place of string: the same encoding


class Abi:
    """The functions and events of one contract by name."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        listed = list(entries)
        self.functions = {e["name"]: _function(e) for e in listed if e["type"] == "function"}
        self.topics = {
            e["name"]: "0x" + event_abi_to_log_topic(e).hex()  # type: ignore[arg-type]  # plain JSON
            for e in listed
            if e["type"] == "event"
        }

    def encode(self, name: str, *args: object) -> bytes:
        """Call data. Raises UsageFault when an argument doesn't fit its type."""
        function = self.functions[name]
        try:
            return function.selector + encode(function.inputs, args)
        except EncodingError as wrong:
            raise UsageFault(f"{name} can't be called so: {wrong}") from None

    def decode(self, name: str, answer: Json) -> Any:
        """The result of an eth_call: one value, or a tuple of several. Raises NodeRefused."""
        function = self.functions[name]
        try:
            raw = bytes.fromhex(str(answer).removeprefix("0x"))
            values = decode(function.wire, raw)
        except (ValueError, DecodingError, OverflowError):
            raise NodeRefused(f"a node answers {name} with something else") from None
        found = [_texts(kind, each) for kind, each in zip(function.outputs, values, strict=True)]
        return found[0] if len(found) == 1 else tuple(found)


def _function(entry: dict[str, Any]) -> Function:
    outputs = tuple(entry["outputs"])
    types = [collapse_if_tuple(each) for each in outputs]
    return Function(
        entry["name"],
        function_abi_to_4byte_selector(entry),  # type: ignore[arg-type]  # plain JSON
        tuple(collapse_if_tuple(each) for each in entry["inputs"]),
        outputs,
        tuple(re.sub(r"\bstring\b", "bytes", each) for each in types),
    )


def _texts(kind: dict[str, Any], value: Any) -> Any:
    """Strings as text, whatever bytes a user put there: what is no UTF-8 shows as \\xNN."""
    if kind["type"].endswith("[]"):
        each = {**kind, "type": kind["type"][:-2]}
        return [_texts(each, item) for item in value]
    if kind["type"] == "tuple":
        parts: Sequence[dict[str, Any]] = kind["components"]
        return tuple(_texts(part, item) for part, item in zip(parts, value, strict=True))
    return value.decode("utf-8", "backslashreplace") if kind["type"] == "string" else value
