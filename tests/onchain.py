"""What people other than the agent do on a test's chain: the plain way, one transaction a block."""

from __future__ import annotations

from eth_account import Account

from agent.chain.transactions import Call
from devnet.chain.node import ChainServer

GAS = 3_000_000


def send(node: ChainServer, key: str, call: Call) -> str:
    """A transaction of whoever has `key` (hex); its hash, once it is in a block. Fails when it
    reverts."""
    evm, account = node.evm, Account.from_key(key)
    with node.lock:
        signed = account.sign_transaction(
            {"chainId": evm.chain_id, "nonce": evm.nonce(bytes.fromhex(account.address[2:])),
             "maxFeePerGas": 10**12, "maxPriorityFeePerGas": 10**9, "gas": GAS,
             "to": call.to, "value": 0, "data": call.data}
        )  # fmt: skip
        sent = str(node.call("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex()))
        if not evm.automine:
            evm.mine()
        assert node.call("eth_getTransactionReceipt", sent)["status"] == "0x1", call.label
    return sent
