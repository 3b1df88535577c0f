"""The contract's ABI from the node's side: calls in, answers and logs out.

Made from the artifacts with eth-abi, and not with the agent's own `agent.chain.abi`: the two
would agree on each other's mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector

import contracts
from devnet.simulation.protocol import Event

if TYPE_CHECKING:
    from eth_typing import ABIEvent, ABIFunction

Entry = dict[str, Any]


@lru_cache(maxsize=1)
def _entries() -> Sequence[Entry]:
    return tuple(contracts.abi(contracts.REGISTRY))


@lru_cache(maxsize=1)
def _functions() -> dict[bytes, Entry]:
    found = (entry for entry in _entries() if entry["type"] == "function")
    return {_selector(entry): entry for entry in found}


@lru_cache(maxsize=1)
def _events() -> dict[str, tuple[Entry, str]]:
    found = (entry for entry in _entries() if entry["type"] == "event")
    return {entry["name"]: (entry, _topic_of(entry)) for entry in found}


def _selector(entry: Entry) -> bytes:
    return bytes(function_abi_to_4byte_selector(cast("ABIFunction", entry)))


def _topic_of(entry: Entry) -> str:
    return "0x" + event_abi_to_log_topic(cast("ABIEvent", entry)).hex()


def _types(parts: Iterable[Entry]) -> list[str]:
    return [collapse_if_tuple(part) for part in parts]


@lru_cache(maxsize=65536)
def called(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """The function's name and its arguments. Raises KeyError: the contract has none such."""
    entry = _functions()[data[:4]]
    return entry["name"], tuple(decode(_types(entry["inputs"]), data[4:]))


@lru_cache(maxsize=32)
def _outputs(name: str) -> list[str]:
    entry = next(one for one in _functions().values() if one["name"] == name)
    return _types(entry["outputs"])


def answered(name: str, *values: Any) -> str:
    """What a function returns, as eth_call has it."""
    return "0x" + encode(_outputs(name), values).hex()


def reverted(reason: str) -> str:
    """Error(string), as the Solidity ABI specification has it."""
    return "0x08c379a0" + encode(["string"], [reason]).hex()


def log(event: Event) -> tuple[list[str], str]:
    """Topics and data of one event."""
    entry, topic = _events()[event.name]
    pairs = list(zip(entry["inputs"], event.args, strict=True))
    topics = [_topic(part["type"], value) for part, value in pairs if part["indexed"]]
    plain = [(part["type"], value) for part, value in pairs if not part["indexed"]]
    data = encode([kind for kind, _ in plain], [value for _, value in plain])
    return [topic, *topics], "0x" + data.hex()


def _topic(kind: str, value: Any) -> str:
    return "0x" + encode([kind], [value]).hex()
