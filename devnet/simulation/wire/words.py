"""The contract's ABI from the node's side: calls in, answers and logs out.

Made from the artifacts with eth-abi, and not with the agent's own `agent.chain.abi`: the two
would agree on each other's mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector

import contracts
from devnet.simulation.protocol import Event

if TYPE_CHECKING:
    from eth_typing import ABIEvent, ABIFunction

Entry = dict[str, Any]


def _selector(entry: Entry) -> bytes:
    return bytes(function_abi_to_4byte_selector(cast("ABIFunction", entry)))


def _topic_of(entry: Entry) -> str:
    return "0x" + event_abi_to_log_topic(cast("ABIEvent", entry)).hex()


def _types(parts: Iterable[Entry]) -> list[str]:
    return [collapse_if_tuple(part) for part in parts]


class Words:
    """Of one contract, by the name of its artifact, or of several."""

    def __init__(self, *artifacts: str) -> None:
        entries: list[Entry] = [one for name in artifacts for one in contracts.abi(name)]
        self._functions = {_selector(one): one for one in entries if one["type"] == "function"}
        self._events = {
            one["name"]: (one, _topic_of(one)) for one in entries if one["type"] == "event"
        }
        self._outputs = {one["name"]: _types(one["outputs"]) for one in self._functions.values()}
        self._called: dict[bytes, tuple[str, tuple[Any, ...]]] = {}

    def called(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """The function's name and its arguments. Raises KeyError: the contract has none such."""
        if data not in self._called:
            entry = self._functions[data[:4]]
            args = tuple(decode(_types(entry["inputs"]), data[4:]))
            self._called[data] = entry["name"], args
        return self._called[data]

    def answered(self, name: str, *values: Any) -> str:
        """What a function returns, as eth_call has it."""
        return "0x" + _encoded(self._outputs[name], values).hex()

    def log(self, event: Event) -> tuple[list[str], str]:
        """Topics and data of one event."""
        entry, topic = self._events[event.name]
        pairs = list(zip(entry["inputs"], event.args, strict=True))
        topics = [_topic(part["type"], value) for part, value in pairs if part["indexed"]]
        plain = [(part["type"], value) for part, value in pairs if not part["indexed"]]
        data = _encoded([kind for kind, _ in plain], [value for _, value in plain])
        return [topic, *topics], "0x" + data.hex()


def _encoded(kinds: Sequence[str], values: Sequence[Any]) -> bytes:
    """A text is its bytes, and these need not be UTF-8: half surrogates stand for single ones."""
    pairs = [
        ("bytes", value.encode("utf-8", "surrogateescape")) if kind == "string" else (kind, value)
        for kind, value in zip(kinds, values, strict=True)
    ]
    return encode([kind for kind, _ in pairs], [value for _, value in pairs])


def reverted(reason: str) -> str:
    """Error(string), as the Solidity ABI specification has it."""
    return "0x08c379a0" + encode(["string"], [reason]).hex()


def _topic(kind: str, value: Any) -> str:
    return "0x" + encode([kind], [value]).hex()


REGISTRY_WORDS = Words(contracts.REGISTRY)
