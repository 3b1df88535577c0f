"""The JSON-RPC methods of a node, over devnet.evm: what wallets, web3 and the agent ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from devnet.chain.evm import CALL_GAS, CallArgs, Evm, Mined, Rejected

Json = Any  # what json.loads gives; each method checks the shape it needs

NO_METHOD, BAD_PARAMS, NOT_FOUND = -32601, -32602, -32001


class Methods:
    """`call("eth_getBalance", [...])` gives the result or raises Rejected."""

    def __init__(self, evm: Evm, finality_blocks: int = 2) -> None:
        self.evm = evm
        self.finality_blocks = finality_blocks
        self._methods: dict[str, Callable[..., Json]] = {
            "web3_clientVersion": lambda: "oyster-devnet/py-evm",
            "net_version": lambda: str(evm.chain_id),
            "eth_chainId": lambda: hex(evm.chain_id),
            "eth_syncing": lambda: False,
            "eth_accounts": lambda: [key.public_key.to_checksum_address() for key in evm.keys],
            "eth_blockNumber": lambda: hex(evm.head.number),
            "eth_gasPrice": lambda: hex(self._base_fee() + 10**9),
            "eth_maxPriorityFeePerGas": lambda: hex(10**9),
            "eth_feeHistory": self._fee_history,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBalance": lambda who, at="latest": hex(evm.balance(_raw(who), self._at(at))),
            "eth_getTransactionCount": self._transaction_count,
            "eth_getCode": lambda who, at="latest": _hex(evm.code(_raw(who), self._at(at))),
            "eth_getStorageAt": self._storage_at,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": lambda raw: _hex(evm.send(_raw(raw))),
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
            "evm_mine": self._mine,
            "evm_snapshot": lambda: hex(evm.snapshot()),
            "evm_revert": lambda number: evm.revert(_int(number)),
            "evm_increaseTime": lambda seconds: evm.increase_time(_int(seconds)),
            "evm_setTime": lambda timestamp: evm.set_time(_int(timestamp)),
            "evm_setNextBlockTimestamp": self._set_next_timestamp,
            "evm_setAutomine": self._set_automine,
            "devnet_reorg": lambda depth, keep=False: evm.reorg(
                _int(depth), keep_transactions=keep
            ),
            "devnet_minTip": self._set_min_tip,
            "devnet_drop": self._drop,
        }

    def call(self, method: str, params: list[Json]) -> Json:
        handler = self._methods.get(method)
        if handler is None:
            raise Rejected(NO_METHOD, f"the method {method} does not exist/is not available")
        try:
            return handler(*params)
        except (TypeError, ValueError, KeyError, AttributeError, ValidationError) as wrong:
            raise Rejected(BAD_PARAMS, f"{method}: {wrong}") from wrong

    # Blocks

    def _at(self, block: Json) -> BlockHeaderAPI:
        """A block tag, number, or EIP-1898 object as a header; "pending" has the clock's time."""
        if block == "pending":
            return self.evm.pending_header()
        return self._mined(block).header

    def _mined(self, block: Json) -> Mined:
        found = (
            self._find_by_hash(block["blockHash"]) if isinstance(block, dict) else self._find(block)
        )
        if found is None:
            raise Rejected(NOT_FOUND, "header not found")
        return found

    def _find(self, block: Json) -> Mined | None:
        head = self.evm.head.number
        tags = {"latest": head, "pending": head, "earliest": 0}
        final = max(0, head - self.finality_blocks)
        number = {**tags, "safe": final, "finalized": final}.get(block)
        number = _int(block) if number is None else number
        return self.evm.chain[number] if 0 <= number <= head else None

    def _find_by_hash(self, hash_: str) -> Mined | None:
        wanted = _raw(hash_)
        return next((mined for mined in reversed(self.evm.chain) if mined.hash == wanted), None)

    def _block_by_number(self, block: Json, full: bool = False) -> Json:
        found = self._find(block)
        return None if found is None else _block_json(found, full=full)

    def _block_by_hash(self, hash_: str, full: bool = False) -> Json:
        found = self._find_by_hash(hash_)
        return None if found is None else _block_json(found, full=full)

    def _base_fee(self) -> int:
        return int(self.evm.pending_header().base_fee_per_gas)

    def _fee_history(self, count: Json, newest: Json, percentiles: Json = ()) -> Json:
        last = self._mined(newest).number
        first = max(0, last - _int(count) + 1)
        blocks = self.evm.chain[first : last + 1]
        fees = [hex(mined.header.base_fee_per_gas) for mined in blocks]
        return {
            "oldestBlock": hex(first),
            "baseFeePerGas": [*fees, hex(self._base_fee())],
            "gasUsedRatio": [m.header.gas_used / m.header.gas_limit for m in blocks],
            "reward": [[hex(10**9)] * len(percentiles or ()) for _ in blocks],
        }

    # State

    def _transaction_count(self, who: str, at: Json = "latest") -> Json:
        nonce = self.evm.nonce(_raw(who), None if at == "pending" else self._at(at))
        if at == "pending":
            while (_raw(who), nonce) in self.evm.pool:
                nonce += 1
        return hex(nonce)

    def _storage_at(self, who: str, slot: Json, at: Json = "latest") -> Json:
        return f"0x{self.evm.storage(_raw(who), _int(slot), self._at(at)):064x}"

    def _call(self, call: dict[str, str], at: Json = "latest") -> Json:
        return _hex(self.evm.call(_call_args(call), self._at(at))[0])

    def _estimate(self, call: dict[str, str], at: Json = "pending") -> Json:
        return hex(self.evm.estimate(_call_args(call), self._at(at)))

    # Transactions and logs

    def _transaction(self, hash_: str) -> Json:
        found = self.evm.find(_raw(hash_))
        if found is None:
            return None
        transaction, mined, index = found
        return _transaction_json(transaction, mined, index)

    def _receipt(self, hash_: str) -> Json:
        found = self.evm.find(_raw(hash_))
        if found is None:
            return None
        transaction, mined, index = found
        return None if mined is None else _receipt_json(transaction, mined, index)

    def _logs(self, query: dict[str, Json]) -> Json:
        if "blockHash" in query:
            blocks = [self._mined({"blockHash": query["blockHash"]})]
        else:
            first = self._mined(query.get("fromBlock", "latest")).number
            upper = query.get("toBlock", "latest")
            last = self._find(upper)
            blocks = self.evm.chain[
                first : (self.evm.head.number if last is None else last.number) + 1
            ]
        return [log for mined in blocks for log in _logs_json(mined) if _matches(log, query)]

    # Control

    def _mine(self, count: Json = 1) -> Json:
        self.evm.mine(_int(count["blocks"]) if isinstance(count, dict) else _int(count))
        return "0x0"

    def _set_next_timestamp(self, timestamp: Json) -> None:
        self.evm.next_timestamp = _int(timestamp)

    def _set_automine(self, on: Json) -> None:
        self.evm.automine = bool(on)
        if on and self.evm.pool:
            self.evm.mine()

    def _set_min_tip(self, wei: Json) -> None:
        self.evm.min_tip = _int(wei)

    def _drop(self) -> int:
        """Forget the pool, as a node does under pressure. How many transactions that was."""
        count = len(self.evm.pool)
        self.evm.pool.clear()
        return count


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _hex(data: bytes) -> str:
    return "0x" + bytes(data).hex()


def _int(value: Json) -> int:
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else int(value)


def _call_args(call: dict[str, str]) -> CallArgs:
    return CallArgs(
        sender=_raw(call.get("from", "0x" + "00" * 20)),
        to=_raw(call.get("to") or ""),
        data=_raw(call.get("data", call.get("input", "0x"))),
        value=_int(call.get("value", 0)),
        gas=min(_int(call.get("gas", CALL_GAS)), CALL_GAS),
    )


def _block_json(mined: Mined, *, full: bool) -> Json:
    header = mined.header
    transactions = mined.block.transactions
    return {
        "number": hex(mined.number), "hash": _hex(mined.hash),
        "parentHash": _hex(header.parent_hash), "timestamp": hex(header.timestamp),
        "baseFeePerGas": hex(header.base_fee_per_gas), "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used), "miner": to_checksum_address(header.coinbase),
        "difficulty": "0x0", "totalDifficulty": "0x0", "nonce": _hex(header.nonce),
        "extraData": _hex(header.extra_data), "mixHash": _hex(header.mix_hash),
        "logsBloom": f"0x{header.bloom:0512x}", "stateRoot": _hex(header.state_root),
        "receiptsRoot": _hex(header.receipt_root), "sha3Uncles": _hex(header.uncles_hash),
        "transactionsRoot": _hex(header.transaction_root), "size": "0x0", "uncles": [],
        "transactions": [
            _transaction_json(tx, mined, index) if full else _hex(tx.hash)
            for index, tx in enumerate(transactions)
        ],
    }  # fmt: skip


def _transaction_json(tx: SignedTransactionAPI, mined: Mined | None, index: int) -> Json:
    return {
        "hash": _hex(tx.hash), "type": hex(getattr(tx, "type_id", 0) or 0), "nonce": hex(tx.nonce),
        "from": to_checksum_address(tx.sender),
        "to": to_checksum_address(tx.to) if tx.to else None,
        "gas": hex(tx.gas), "value": hex(tx.value), "input": _hex(tx.data),
        "maxFeePerGas": hex(tx.max_fee_per_gas), "gasPrice": hex(tx.max_fee_per_gas),
        "maxPriorityFeePerGas": hex(tx.max_priority_fee_per_gas),
        "v": hex(tx.y_parity), "r": hex(tx.r), "s": hex(tx.s),
        **_place_json(mined, index),
    }  # fmt: skip


def _place_json(mined: Mined | None, index: int) -> Json:
    if mined is None:
        return {"blockHash": None, "blockNumber": None, "transactionIndex": None}
    return {
        "blockHash": _hex(mined.hash),
        "blockNumber": hex(mined.number),
        "transactionIndex": hex(index),
    }


def _receipt_json(tx: SignedTransactionAPI, mined: Mined, index: int) -> Json:
    receipt = mined.receipts[index]
    before = mined.receipts[index - 1].gas_used if index else 0
    base_fee = mined.header.base_fee_per_gas
    price = base_fee + min(tx.max_priority_fee_per_gas, tx.max_fee_per_gas - base_fee)
    return {
        "transactionHash": _hex(tx.hash), **_place_json(mined, index),
        "from": to_checksum_address(tx.sender),
        "to": to_checksum_address(tx.to) if tx.to else None,
        "status": hex(int.from_bytes(receipt.state_root, "big")),
        "gasUsed": hex(receipt.gas_used - before), "cumulativeGasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(price), "type": hex(getattr(tx, "type_id", 0) or 0),
        "logsBloom": f"0x{receipt.bloom:0512x}",
        "contractAddress": None if tx.to else _created(tx),
        "logs": [log for log in _logs_json(mined) if log["transactionHash"] == _hex(tx.hash)],
    }  # fmt: skip


def _created(tx: SignedTransactionAPI) -> str:
    return to_checksum_address(keccak(rlp.encode([tx.sender, tx.nonce]))[12:])


def _logs_json(mined: Mined) -> Iterator[dict[str, Json]]:
    counter = 0
    for index, (tx, receipt) in enumerate(
        zip(mined.block.transactions, mined.receipts, strict=True)
    ):
        for log in receipt.logs:
            yield {
                "address": to_checksum_address(log.address),
                "topics": [f"0x{topic:064x}" for topic in log.topics],
                "data": _hex(log.data), "logIndex": hex(counter), "removed": False,
                "transactionHash": _hex(tx.hash), **_place_json(mined, index),
            }  # fmt: skip
            counter += 1


def _matches(log: dict[str, Json], query: dict[str, Json]) -> bool:
    addresses = query.get("address") or []
    wanted = [addresses] if isinstance(addresses, str) else addresses
    if wanted and log["address"].lower() not in {text.lower() for text in wanted}:
        return False
    topics = query.get("topics") or []
    if len(topics) > len(log["topics"]):
        return False
    return all(
        _topic_matches(want, have) for want, have in zip(topics, log["topics"], strict=False)
    )


def _topic_matches(want: Json, have: str) -> bool:
    if want is None:
        return True
    return have.lower() in {text.lower() for text in ([want] if isinstance(want, str) else want)}
