"""The devnet's node: blocks, time, pool, forks and faults, over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devnet.chain.evm import Evm, Rejected
from devnet.chain.node import ChainServer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # public: account 0
RICH: LocalAccount = Account.from_key(KEY)
OTHER = "0x000000000000000000000000000000000000bEEF"


@pytest.fixture
def node() -> Iterator[ChainServer]:
    with ChainServer(evm=Evm(now=lambda: 1_800_000_000.0)) as server:
        yield server


@pytest.fixture(scope="module")
def idle() -> Iterator[ChainServer]:
    with ChainServer() as server:
        yield server


def ask(node: ChainServer, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = httpx.post(node.url, json=body, timeout=20).json()
    if "error" in answer:
        raise Rejected(answer["error"]["code"], answer["error"]["message"])
    return answer["result"]


def pay(nonce: int, *, tip: int = 10**9, fee: int = 10**10, to: str = OTHER) -> str:
    fields: dict[str, Any] = {
        "chainId": 31337,
        "nonce": nonce,
        "maxFeePerGas": fee,
        "maxPriorityFeePerGas": tip,
        "gas": 21000,
        "to": to,
        "value": 7,
        "data": b"",
    }
    signed = RICH.sign_transaction(fields)
    return signed.raw_transaction.to_0x_hex()


def test_send__automining__is_mined_at_once_with_a_receipt(node: ChainServer) -> None:
    hash_ = ask(node, "eth_sendRawTransaction", pay(0))
    receipt = ask(node, "eth_getTransactionReceipt", hash_)
    assert (receipt["status"], receipt["blockNumber"]) == ("0x1", "0x1")
    assert int(ask(node, "eth_getBalance", OTHER), 16) == 7
    assert ask(node, "eth_getTransactionByHash", hash_)["from"] == RICH.address


def test_time__controlled__is_what_blocks_carry(node: ChainServer) -> None:
    ask(node, "evm_increaseTime", 500)
    ask(node, "evm_mine")
    assert int(ask(node, "eth_getBlockByNumber", "latest", False)["timestamp"], 16) == 1_800_000_500
    ask(node, "evm_setNextBlockTimestamp", 1_800_009_000)
    ask(node, "evm_mine")
    assert int(ask(node, "eth_getBlockByNumber", "latest", False)["timestamp"], 16) == 1_800_009_000


def test_pool__low_tip__waits_until_outbid(node: ChainServer) -> None:
    ask(node, "devnet_minTip", 2 * 10**9)
    first = ask(node, "eth_sendRawTransaction", pay(0, tip=10**9))
    assert ask(node, "eth_getTransactionReceipt", first) is None
    with pytest.raises(Rejected, match="underpriced"):
        ask(node, "eth_sendRawTransaction", pay(0, tip=10**9 + 1))
    second = ask(node, "eth_sendRawTransaction", pay(0, tip=3 * 10**9, fee=2 * 10**10))
    assert ask(node, "eth_getTransactionReceipt", second)["status"] == "0x1"
    assert ask(node, "eth_getTransactionByHash", first) is None
    with pytest.raises(Rejected, match="nonce too low"):
        ask(node, "eth_sendRawTransaction", pay(0, tip=9 * 10**9, fee=3 * 10**10))


def test_reorg__one_deep__forgets_or_repools_the_transaction(node: ChainServer) -> None:
    hash_ = ask(node, "eth_sendRawTransaction", pay(0))
    old = ask(node, "eth_getBlockByNumber", "0x1", False)["hash"]
    ask(node, "devnet_reorg", 1)
    assert ask(node, "eth_getTransactionReceipt", hash_) is None
    assert ask(node, "eth_getBlockByHash", old, False) is None
    assert ask(node, "eth_blockNumber") == "0x2"
    ask(node, "eth_sendRawTransaction", pay(0))
    ask(node, "devnet_reorg", 1, True)
    assert ask(node, "eth_getTransactionReceipt", hash_)["status"] == "0x1"


def test_snapshot__reverted__restores_blocks_balances_and_time(node: ChainServer) -> None:
    number = ask(node, "evm_snapshot")
    ask(node, "eth_sendRawTransaction", pay(0))
    ask(node, "evm_increaseTime", 1000)
    assert ask(node, "evm_revert", number) is True
    assert ask(node, "evm_revert", number) is False
    assert int(ask(node, "eth_getBalance", OTHER), 16) == 0
    assert node.evm.time() == 1_800_000_000
    assert ask(node, "eth_sendRawTransaction", pay(0))


def test_faults__each_switch__does_what_it_says(node: ChainServer) -> None:
    ask(node, "evm_mine", 5)
    ask(node, "devnet_fault", {"lag": 3, "chain_id": 1, "max_logs_range": 2, "max_batch": 2})
    assert ask(node, "eth_blockNumber") == "0x2"
    assert ask(node, "eth_chainId") == "0x1"
    with pytest.raises(Rejected, match="more than 2 results"):
        ask(node, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x2"})
    with pytest.raises(Rejected, match="header not found"):
        ask(node, "eth_getBalance", OTHER, hex(5))
    body = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber"} for n in range(3)]
    assert "error" in httpx.post(node.url, json=body).json()
    ask(node, "devnet_fault", {"refuse": True})
    with pytest.raises(httpx.TransportError):
        ask(node, "eth_chainId")
    ask(node, "devnet_fault", {"refuse": False, "status": 503})
    assert httpx.post(node.url, json=body).status_code == 503
    with pytest.raises(Rejected, match="unknown faults"):
        ask(node, "devnet_fault", {"explode": True})


def test_faults__limits_of_a_provider__refuse_as_those_do(node: ChainServer) -> None:
    height = {"id": 1, "method": "eth_blockNumber"}
    ask(node, "devnet_fault", {"rate": 3, "max_batch": 10, "batch_status": 500})
    answers = httpx.post(node.url, json=[height] * 8).json()
    codes = [each.get("error", {}).get("code") for each in answers]
    assert codes[:3] == [None] * 3
    assert set(codes[4:]) == {-32007}
    refused = httpx.post(node.url, json=[height] * 11)
    assert (refused.status_code, refused.json()["id"]) == (500, None)
    ask(node, "devnet_fault", {"rate": 0, "status": 429, "retry_after": 7})
    limited = httpx.post(node.url, json=height)
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")


def test_twin__faulty__leaves_the_other_node_well(node: ChainServer) -> None:
    with node.twin() as twin:
        ask(twin, "devnet_fault", {"lag": 1})
        ask(node, "evm_mine")
        assert (ask(node, "eth_blockNumber"), ask(twin, "eth_blockNumber")) == ("0x1", "0x0")


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3))
)
@example([""])  # bytes, and no address
@settings(max_examples=40, deadline=None)
def test_answer__nonsense__is_an_error_never_a_crash(idle: ChainServer, body: Any) -> None:
    answer = idle.answer({"id": 1, "method": "eth_getBalance", "params": body})
    assert "error" in answer
    assert idle.answer({"id": 1, "method": body})["error"]


def test_process__started__prints_its_url_and_mines_on_time() -> None:
    command = [
        sys.executable,
        "-m",
        "devnet.chain.node",
        "--block-time",
        "0.05",
        "--chain-id",
        "99",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
        height = 0
        while height < 2:
            height = int(httpx.post(said["url"], json=body).json()["result"], 16)
        process.terminate()
    assert said["chainId"] == 99
