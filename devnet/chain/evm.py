"""A chain in memory: py-evm blocks with a mempool, a controllable clock, snapshots and reorgs.

eth-tester sets py-evm up (genesis, accounts, Prague rules); blocks, forks and lookups are kept
here, because a market's agent needs what eth-tester has not: a pool in which a transaction can be
stuck and replaced, receipts by hash without a scan, and timestamps that follow a clock.
Not thread-safe: devnet.chain holds the lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.exceptions import Revert
from eth.vm.spoof import SpoofTransaction
from eth_tester import PyEVMBackend
from eth_utils.exceptions import ValidationError

# The accounts that anvil and hardhat use, too: public knowledge, never to hold value.
MNEMONIC = "test test test test test test test test test test test junk"
HD_PATH = "m/44'/60'/0'/0"
BUMP_PERCENT = 10  # by which geth wants both fees raised in a replacement
CALL_GAS = 30_000_000
BLOCK_GAS = 60_000_000  # Ethereum mainnet's limit since November 2025
ERROR_SELECTOR = bytes.fromhex("08c379a0")  # Error(string), Solidity ABI specification


class Rejected(Exception):
    """What a node answers as an error: JSON-RPC code, message, and revert data if it has any."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True)
class Mined:
    """One block of some fork, with what its transactions left behind."""

    block: BlockAPI
    receipts: tuple[ReceiptAPI, ...]

    @property
    def header(self) -> BlockHeaderAPI:
        return self.block.header

    @property
    def number(self) -> int:
        return int(self.block.header.block_number)

    @property
    def hash(self) -> bytes:
        return bytes(self.block.hash)


@dataclass(frozen=True)
class CallArgs:
    sender: bytes
    to: bytes
    data: bytes
    value: int = 0
    gas: int = CALL_GAS


@dataclass(frozen=True)
class Snapshot:
    chain: tuple[Mined, ...]
    pool: dict[tuple[bytes, int], SignedTransactionAPI]
    skew: float


@dataclass
class Evm:
    """The chain. `now` is its clock; `automine` mines on every transaction that is ready."""

    now: Callable[[], float] = time.time
    automine: bool = True
    chain_id: int = 31337
    accounts: int = 10
    min_tip: int = 0  # transactions below stay in the pool: how a test makes one stuck
    skew: float = 0.0
    next_timestamp: int | None = None
    chain: list[Mined] = field(default_factory=list)
    pool: dict[tuple[bytes, int], SignedTransactionAPI] = field(default_factory=dict)

    def __post_init__(self) -> None:
        backend = PyEVMBackend.from_mnemonic(
            MNEMONIC,
            num_accounts=self.accounts,
            hd_path=HD_PATH,
            genesis_parameters=PyEVMBackend.generate_genesis_params(
                {"timestamp": self.time(), "gas_limit": BLOCK_GAS}
            ),
        )
        self.keys = backend.account_keys
        self._evm: Any = backend.chain
        type(self._evm).chain_id = self.chain_id  # the class is made per backend
        self._places: dict[bytes, tuple[int, int]] = {}  # transaction hash -> (block, index)
        self._snapshots: dict[int, Snapshot] = {}
        self._called: tuple[BlockHeaderAPI, Any] | None = None
        self.chain.append(Mined(self._evm.get_canonical_block_by_number(0), ()))

    # Time

    def time(self) -> int:
        return int(self.now() + self.skew)

    def increase_time(self, seconds: float) -> None:
        self.skew += seconds

    def set_time(self, timestamp: float) -> None:
        self.skew = timestamp - self.now()

    # Blocks

    @property
    def head(self) -> Mined:
        return self.chain[-1]

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self._mine_one()

    def _mine_one(self) -> None:
        self._evm.header = self.pending_header()
        self.next_timestamp = None
        receipts = [self._apply(transaction) for transaction in self._ready()]
        block = self._evm.mine_block(mix_hash=os.urandom(32), blob_gas_used=0)
        self._append(Mined(block, tuple(receipt for receipt in receipts if receipt is not None)))

    def pending_header(self) -> BlockHeaderAPI:
        """The next block's header: its parent's state, the clock's time, always past the parent."""
        parent = self.head.header
        wanted = self.time() if self.next_timestamp is None else self.next_timestamp
        header = self._evm.create_header_from_parent(parent)
        return header.copy(timestamp=max(wanted, parent.timestamp + 1))

    def _apply(self, transaction: SignedTransactionAPI) -> ReceiptAPI | None:
        try:
            _block, receipt, _computation = self._evm.apply_transaction(transaction)
        except ValidationError:
            return None  # block full, or no longer affordable
        return receipt

    def _append(self, mined: Mined) -> None:
        self.chain.append(mined)
        for index, transaction in enumerate(mined.block.transactions):
            self._places[transaction.hash] = (mined.number, index)
            self.pool.pop((transaction.sender, transaction.nonce), None)

    def _ready(self) -> Iterator[SignedTransactionAPI]:
        """What the next block takes: per sender in nonce order without gaps, at its base fee."""
        base_fee = self._evm.header.base_fee_per_gas
        expected: dict[bytes, int] = {}
        for (sender, nonce), transaction in sorted(self.pool.items(), key=lambda item: item[0]):
            following = expected.setdefault(sender, self.nonce(sender))
            tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
            if nonce == following and tip >= self.min_tip and tip >= 0:
                expected[sender] += 1
                yield transaction

    # Forks

    def snapshot(self) -> int:
        number = len(self._snapshots) + 1
        self._snapshots[number] = Snapshot(tuple(self.chain), dict(self.pool), self.skew)
        return number

    def revert(self, number: int) -> bool:
        """Back to a snapshot; it and all later ones are gone. False: there is none such."""
        snapshot = self._snapshots.get(number)
        if snapshot is None:
            return False
        self._snapshots = {n: s for n, s in self._snapshots.items() if n < number}
        self.chain[:] = snapshot.chain
        self.pool, self.skew = dict(snapshot.pool), snapshot.skew
        self._reindex()
        return True

    def reorg(self, depth: int, *, keep_transactions: bool = False) -> None:
        """Replace the last `depth` blocks by as many others, and one more so that it is longer.

        Their transactions are lost, or go back to the pool with `keep_transactions`.
        """
        if not 0 < depth < len(self.chain):
            raise Rejected(-32602, f"cannot reorg {depth} of {len(self.chain) - 1} blocks")
        dropped = self.chain[-depth:]
        del self.chain[-depth:]
        self._reindex()
        if keep_transactions:
            for mined in dropped:
                for tx in mined.block.transactions:
                    self.pool[(tx.sender, tx.nonce)] = tx
        self.mine(depth + 1)

    def _reindex(self) -> None:
        self._places.clear()
        for mined in list(self.chain):
            for index, transaction in enumerate(mined.block.transactions):
                self._places[transaction.hash] = (mined.number, index)

    # Transactions

    def send(self, raw: bytes) -> bytes:
        """Into the pool, and mined at once when automining. Raises Rejected as geth would."""
        transaction = self._decode(raw)
        key = (transaction.sender, transaction.nonce)
        if self.find(transaction.hash) is not None:
            raise Rejected(-32000, "already known")
        if transaction.nonce < self.nonce(transaction.sender):
            raise Rejected(-32000, "nonce too low")
        if key in self.pool and not _outbids(transaction, self.pool[key]):
            raise Rejected(-32000, "replacement transaction underpriced")
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        if cost > self.balance(transaction.sender):
            raise Rejected(-32000, "insufficient funds for gas * price + value")
        self.pool[key] = transaction
        if self.automine:
            self.mine()
        return bytes(transaction.hash)

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction: SignedTransactionAPI = self._evm.get_transaction_builder().decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
        except (ValidationError, ValueError, TypeError, IndexError) as wrong:
            raise Rejected(-32000, f"invalid transaction: {wrong}") from wrong
        if getattr(transaction, "chain_id", self.chain_id) not in (None, self.chain_id):
            raise Rejected(-32000, "invalid chain id for signer")
        return transaction

    def _pooled(self, hash_: bytes) -> SignedTransactionAPI | None:
        return next((tx for tx in self.pool.values() if tx.hash == hash_), None)

    def find(self, hash_: bytes) -> tuple[SignedTransactionAPI, Mined | None, int] | None:
        """A transaction, its block (None: in the pool) and its place in it; None: unknown."""
        number, index = self._places.get(hash_, (-1, 0))
        if 0 <= number < len(self.chain):
            mined = self.chain[number]
            return mined.block.transactions[index], mined, index
        pooled = self._pooled(hash_)
        return None if pooled is None else (pooled, None, 0)

    # State

    def nonce(self, account: bytes, at: BlockHeaderAPI | None = None) -> int:
        return int(self._state(at).get_nonce(account))

    def balance(self, account: bytes, at: BlockHeaderAPI | None = None) -> int:
        return int(self._state(at).get_balance(account))

    def code(self, account: bytes, at: BlockHeaderAPI | None = None) -> bytes:
        return bytes(self._state(at).get_code(account))

    def storage(self, account: bytes, slot: int, at: BlockHeaderAPI | None = None) -> int:
        return int(self._state(at).get_storage(account, slot))

    def _state(self, at: BlockHeaderAPI | None) -> Any:
        return self._evm.get_vm(self.head.header if at is None else at).state

    def call(self, call: CallArgs, at: BlockHeaderAPI) -> tuple[bytes, int]:
        """Output and gas used before refunds. Raises Rejected(3) with the revert data."""
        vm = self._for_calls(at)
        before = vm.state.snapshot()
        try:
            outcome = self._outcome(vm, call)
        finally:
            vm.state.revert(before)
        if outcome.is_error:
            data = bytes(outcome.output) if isinstance(outcome.error, Revert) else b""
            raise Rejected(3, _reverted(data), "0x" + data.hex())
        return bytes(outcome.output), call.gas - int(outcome.get_gas_remaining())

    def _for_calls(self, at: BlockHeaderAPI) -> Any:
        """A machine at that block in which gas is free; kept with the state that it has read."""
        if self._called is None or self._called[0] != at:
            self._called = at, self._evm.get_vm(at.copy(base_fee_per_gas=0))
        return self._called[1]

    def _outcome(self, vm: Any, call: CallArgs) -> Any:
        unsigned = vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            self.chain_id, vm.state.get_nonce(call.sender), 0, 0, call.gas, call.to,
            call.value, call.data, (),
        )  # fmt: skip
        try:
            return vm.state.apply_transaction(SpoofTransaction(unsigned, from_=call.sender))
        except ValidationError as wrong:
            raise Rejected(-32000, str(wrong)) from wrong

    def estimate(self, call: CallArgs, at: BlockHeaderAPI) -> int:
        """Gas that suffices: what is used, then enough for the 1/64 that inner calls hold back."""
        _output, used = self.call(call, at)
        for limit in (used, used + used // 63 + 2_500, used + used // 8 + 10_000):
            try:
                self.call(replace(call, gas=limit), at)
            except Rejected:
                continue
            return limit
        return 2 * used


def _reverted(data: bytes) -> str:
    """geth's words: with the reason of Error(string), where there is one."""
    if data[:4] != ERROR_SELECTOR:
        return "execution reverted"
    length = int.from_bytes(data[36:68])
    return f"execution reverted: {data[68 : 68 + length].decode(errors='replace')}"


def _outbids(new: SignedTransactionAPI, old: SignedTransactionAPI) -> bool:
    return all(
        getattr(new, fee) * 100 >= getattr(old, fee) * (100 + BUMP_PERCENT)
        for fee in ("max_fee_per_gas", "max_priority_fee_per_gas")
    )
