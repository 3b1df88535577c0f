"""py-evm at its lowest level: messages on a state, no blocks, no signatures, no JSON-RPC.

One call takes a millisecond or two instead of thirty. A state that was built once is forked for
every test; time is a number that the test sets. Gas is what a transaction would be charged.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS, ZERO_ADDRESS, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

import contracts
from devnet.simulation.protocol import Event

TX_GAS = 21_000
REFUND_QUOTIENT = 5
GAS_LIMIT = 30_000_000


class Reverted(Exception):
    """The call reverted; `reason` is the contract's text, empty when it gave none."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OutOfGas(Exception):
    """The call ended without a revert: it ran out of gas or hit an invalid instruction."""


def account(number: int) -> str:
    """A made-up account's address."""
    return to_checksum_address(keccak(b"account %d" % number)[-20:])


def _canonical(inputs: Sequence[dict[str, Any]]) -> list[str]:
    return [_type(entry) for entry in inputs]


def _type(entry: dict[str, Any]) -> str:
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_canonical(entry['components']))})" + kind.removeprefix("tuple")


def _plain(kind: str, value: Any) -> Any:
    return to_checksum_address(value) if kind == "address" else value


def _shape(entry: dict[str, Any], value: Any) -> Any:
    """Decoded values with checksummed addresses and structs as named tuples."""
    if entry["type"] == "tuple":
        names = [part["name"] for part in entry["components"]]
        parts = zip(entry["components"], value, strict=True)
        return _struct(tuple(names))(*(_shape(part, item) for part, item in parts))
    if entry["type"].endswith("[]"):
        inner = entry | {"type": entry["type"].removesuffix("[]")}
        return [_shape(inner, item) for item in value]
    return _plain(entry["type"], value)


@cache
def _struct(names: tuple[str, ...]) -> Any:
    return namedtuple("Struct", names)


class _Function:
    def __init__(self, entry: dict[str, Any]) -> None:
        self.inputs = _canonical(entry["inputs"])
        self.outputs = entry["outputs"]
        self.selector = keccak(text=f"{entry['name']}({','.join(self.inputs)})")[:4]

    def encode(self, args: Sequence[Any]) -> bytes:
        return self.selector + encode(self.inputs, args)

    def decode(self, output: bytes) -> Any:
        if not self.outputs:
            return None
        values = decode(_canonical(self.outputs), output)
        found = tuple(map(_shape, self.outputs, values))
        return found[0] if len(found) == 1 else found


class _EventShape:
    def __init__(self, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.inputs = entry["inputs"]
        self.topic = keccak(text=f"{self.name}({','.join(_canonical(self.inputs))})")

    def decode(self, topics: Sequence[int], data: bytes) -> Event:
        loose = [entry["type"] for entry in self.inputs if not entry["indexed"]]
        values = iter(decode(loose, data))
        indexed = iter(topics[1:])
        args = [
            decode([entry["type"]], next(indexed).to_bytes(32, "big"))[0]
            if entry["indexed"]
            else next(values)
            for entry in self.inputs
        ]
        kinds = [entry["type"] for entry in self.inputs]
        return Event(self.name, tuple(map(_plain, kinds, args)))


class Interface:
    """The ABI of one contract, made ready once."""

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self.functions = {e["name"]: _Function(e) for e in entries if e["type"] == "function"}
        events = [_EventShape(e) for e in entries if e["type"] == "event"]
        self.events = {int.from_bytes(event.topic, "big"): event for event in events}
        self.constructor = next(
            (_canonical(e["inputs"]) for e in entries if e["type"] == "constructor"), []
        )


@cache
def interface(name: str) -> Interface:
    """The interface of a contract by its name."""
    return Interface(contracts.abi(name))


@dataclass
class Evm:
    """A state on which messages run, and the clock they see."""

    now: int
    root: bytes = BLANK_ROOT_HASH
    database: AtomicDB = field(default_factory=AtomicDB)
    gas_used: int = 0
    deployed: int = 0
    logs: Sequence[tuple[bytes, Sequence[int], bytes]] = ()

    def __post_init__(self) -> None:
        context = ExecutionContext(
            coinbase=ZERO_ADDRESS, timestamp=self.now, block_number=1, difficulty=0,
            mix_hash=ZERO_HASH32, gas_limit=GAS_LIMIT, prev_hashes=[], chain_id=1,
            base_fee_per_gas=1, excess_blob_gas=0,
        )  # fmt: skip
        self.state = PragueState(self.database, context, self.root)

    def keep(self) -> Evm:
        """Write the state down, so that `fork` starts from it."""
        self.state.lock_changes()
        self.state.persist()
        self.root = self.state.state_root
        return self

    def fork(self) -> Evm:
        """Another state that starts from what was kept."""
        return Evm(now=self.now, root=self.root, database=self.database)

    def deploy(self, name: str, *args: Any) -> Contract:
        """A new contract from its artifact."""
        code = bytes.fromhex(contracts.bytecode(name).removeprefix("0x"))
        shape = interface(name)
        return Contract(self, self.create(code + encode(shape.constructor, args)), shape)

    def create(self, code: bytes) -> str:
        """Run initcode; the address of the contract that it makes."""
        address = keccak(code + b"%d" % self.deployed)[-20:]
        self.deployed += 1
        self._apply(b"\x01" * 20, CREATE_CONTRACT_ADDRESS, code, create=address)
        return to_checksum_address(address)

    def call(self, sender: str, to: str, data: bytes, *, static: bool = False) -> bytes:
        """Run one message as a transaction; sets `gas_used` and `logs`."""
        return self._apply(_raw(sender), _raw(to), data, static=static)

    def _apply(
        self,
        sender: bytes,
        to: bytes,
        data: bytes,
        *,
        create: bytes | None = None,
        static: bool = False,
    ) -> bytes:
        state = self.state
        state.execution_context._timestamp = self.now
        state.lock_changes()
        state.clear_transient_storage()
        state.mark_address_warm(sender)
        state.mark_address_warm(create or to)
        message = Message(
            gas=GAS_LIMIT, to=to, sender=sender, value=0, is_static=static,
            data=b"" if create else data, code=data if create else state.get_code(to),
            create_address=create,
        )  # fmt: skip
        run = state.computation_class
        apply = run.apply_create_message if create else run.apply_message
        computation = apply(state, message, CancunTransactionContext(1, sender))
        self._account(computation, data)
        if computation.is_error:
            raise _failure(computation)
        output: bytes = computation.output
        return output

    def _account(self, computation: Any, data: bytes) -> None:
        zeros = data.count(0)
        used = GAS_LIMIT - computation.get_gas_remaining() + TX_GAS
        used += 4 * zeros + 16 * (len(data) - zeros)
        refund = 0 if computation.is_error else computation.get_gas_refund()
        self.gas_used = used - min(refund, used // REFUND_QUOTIENT)
        self.logs = () if computation.is_error else computation.get_log_entries()


def _raw(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


def _failure(computation: Any) -> Exception:
    if not isinstance(computation.error, Revert):
        return OutOfGas(repr(computation.error))
    output: bytes = computation.output
    if output[:4] != keccak(text="Error(string)")[:4]:
        return Reverted("")
    return Reverted(decode(["string"], output[4:])[0])


@dataclass(frozen=True)
class Contract:
    """A contract at an address of one Evm."""

    evm: Evm
    address: str
    interface: Interface

    def on(self, evm: Evm) -> Contract:
        """The same contract on a fork."""
        return Contract(evm, self.address, self.interface)

    def send(self, sender: str, function: str, *args: Any) -> list[Event]:
        """Call a function as a transaction of `sender`; returns this contract's events."""
        self.evm.call(sender, self.address, self.interface.functions[function].encode(args))
        return [
            self.interface.events[topics[0]].decode(topics, data)
            for address, topics, data in self.evm.logs
            if address == _raw(self.address)
        ]

    def read(self, function: str, *args: Any) -> Any:
        """What a view answers."""
        shape = self.interface.functions[function]
        return shape.decode(
            self.evm.call(account(0), self.address, shape.encode(args), static=True)
        )
