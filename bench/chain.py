"""How fast the chain side is: `python -m bench.chain` prints JSON, a figure a line.

- notified_ms: from a block with JobAssigned to its job being named, polling every 0.25 s
- backlog_s: 100,000 blocks with 5,000 events of ours, read from a cursor at their beginning
- thousand_jobs: exchanges and seconds to list and read 1,000 jobs of one provider

On anvil where it is on PATH or in .ci/anvil (the two large ones only there), else on py-evm.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider, Web3

from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader
from agent.chain.head import Finality, HeadFollower, HeadTracker, Pace
from agent.chain.rpc import Request
from agent.chain.transactions import Call
from agent.clock import SystemClock
from agent.market.model import Address, JobId, Price, Wei
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market, changed_jobs, job_topics
from agent.markets.token import token_abi
from bench.figure import NotRun
from contracts.deploy import Params, deploy
from devnet.chain.node import ChainServer

ROOT = Path(__file__).parents[1]
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # public: account 0
TYPE = "us-east-1/c6a.xlarge"
POLL_SECONDS = 0.25
BACKLOG_BLOCKS, BACKLOG_EVENTS = 100_000, 5_000
MAKE_SECONDS = 300  # for the backlog's blocks: the whole bench has a quarter of an hour
JOBS = 1_000
SAMPLES = 20
CROWD = 50  # transactions sent in one exchange
# EIP-2935's contract keeps 8,191 block hashes, and anvil hashes its whole state for each block: an
# empty block takes 8 ms with it, 0.4 ms without. No event depends on it.
BLOCK_HASHES = "0x0000F90827F1C53a10cb7A02335B175320002935"


@dataclass
class Chain:
    """A node with a market whose only provider is also the user."""

    url: str
    chain_id: int
    account: LocalAccount
    calls: Calls
    nonce: int

    @property
    def provider(self) -> Address:
        return Address(self.account.address)

    def rpc(self, client: httpx.Client, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = client.post(self.url, json=body, timeout=120).json()
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]

    def signed(self, call: Call, gas: int = 1_500_000) -> str:
        fields: dict[str, Any] = {
            "chainId": self.chain_id, "nonce": self.nonce, "maxFeePerGas": 10**12, "gas": gas,
            "maxPriorityFeePerGas": 10**9, "to": call.to, "value": 0, "data": call.data,
        }  # fmt: skip
        self.nonce += 1
        return self.account.sign_transaction(fields).raw_transaction.to_0x_hex()

    def send(self, client: httpx.Client, *calls: Call) -> None:
        body = [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}
            for raw in map(self.signed, calls)
        ]
        answers = client.post(self.url, json=body, timeout=120).json()
        if any("error" in answer for answer in answers):
            raise SystemExit(f"a transaction was refused: {answers[0]}")

    def wait(self, client: httpx.Client) -> None:
        """Until all that was sent is in blocks: anvil mines beside its answers."""
        while self.mined(client) < self.nonce:
            time.sleep(0.1)

    def mined(self, client: httpx.Client) -> int:
        count = self.rpc(client, "eth_getTransactionCount", self.provider, "latest")
        return int(count, 16)


def find_anvil() -> str | None:
    places = os.pathsep.join([os.environ["PATH"], str(ROOT / ".ci/anvil/node_modules/.bin")])
    return shutil.which("anvil", path=places)


@contextmanager
def node(anvil: str | None) -> Iterator[str]:
    if anvil is None:
        with ChainServer() as server:
            yield server.url
        return
    command = [anvil, "--port", "0", "--gas-limit", "3000000000", "--accounts", "1"]
    command += ["--prune-history", "50"]  # else every block keeps a copy of the state
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "") if process.stdout else iter(())
        port = next(hit[1] for line in lines if (hit := re.search(r"127\.0\.0\.1:(\d+)", line)))
        threading.Thread(target=list, args=(lines,), daemon=True).start()  # or its pipe fills up
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def prepared(url: str, client: httpx.Client) -> Chain:
    account: LocalAccount = Account.from_key(KEY)
    w3 = Web3(HTTPProvider(url))
    auditor = Account.from_key("0x" + "11" * 32).address
    made = deploy(w3, account, Params(10**18, 300, 600, 120, 1), [auditor])
    calls = Calls(Address(made.registry))
    nonce = w3.eth.get_transaction_count(account.address)
    chain = Chain(url, made.chain_id, account, calls, nonce)
    for token in (Address(made.pond), Address(made.payment_token)):
        mint = token_abi().encode("mint", account.address, 10**27)
        chain.send(client, Call(token, mint, "mint"), calls.approve(token, Wei(10**27)))
    chain.send(client, calls.stake(Wei(10 * JOBS * 10**18)), calls.register(TYPE, Price(10**6)))
    return chain


@asynccontextmanager
async def reading(chain: Chain) -> AsyncIterator[tuple[Endpoints, EventReader, Market]]:
    endpoints = await Endpoints.open([chain.url], SystemClock(), timeout_seconds=60)
    jobs_in = partial(changed_jobs, provider=chain.provider)
    events = EventReader(endpoints, chain.calls.registry, job_topics(), jobs_in)
    yield endpoints, events, Market(endpoints, chain.calls.registry)
    await endpoints.close()


def request(chain: Chain) -> Call:
    return chain.calls.request_job(TYPE, Price(10**12), "ipfs://image", Wei(1000))


async def notified(chain: Chain, client: httpx.Client) -> dict[str, float]:
    """Milliseconds from the send that mines a JobAssigned to the job's name."""
    taken = []
    async with reading(chain) as (endpoints, events, _market):
        tracker = HeadTracker(endpoints, Finality(2))
        heads = HeadFollower(tracker, SystemClock(), Pace(poll=POLL_SECONDS)).heads()
        cursor = (await events.changes(None, await anext(heads))).cursor
        for number in range(SAMPLES):
            waiting = asyncio.ensure_future(anext(heads))
            await asyncio.sleep(0.07 * (1 + number % 4))  # at any point of the polling interval
            raw = chain.signed(request(chain))
            begun = time.perf_counter()
            await asyncio.to_thread(chain.rpc, client, "eth_sendRawTransaction", raw)
            changes = await events.changes(cursor, await waiting)
            taken.append((time.perf_counter() - begun) * 1000)
            if not changes.jobs:
                raise SystemExit("a head came without its job")
            cursor = changes.cursor
    worst = max(taken)
    return {"median": round(statistics.median(taken)), "max": round(worst), "samples": len(taken)}


async def backlog(chain: Chain, client: httpx.Client) -> dict[str, float]:
    """Seconds to read 100,000 blocks with 5,000 of our events from a cursor before them."""
    async with reading(chain) as (endpoints, events, _market):
        tracker = HeadTracker(endpoints, Finality(2))
        cursor = Cursor.at(await tracker.poll())
        chain.rpc(client, "evm_setAutomine", False)
        chain.rpc(client, "anvil_setCode", BLOCK_HASHES, "0x")
        made_by = time.monotonic() + MAKE_SECONDS
        for first in range(0, BACKLOG_EVENTS, CROWD):
            if time.monotonic() > made_by:
                done = BACKLOG_BLOCKS * first // BACKLOG_EVENTS
                raise NotRun(f"anvil made {done} of {BACKLOG_BLOCKS} blocks in {MAKE_SECONDS} s")
            jobs = [JobId(1 + number % SAMPLES) for number in range(first, first + CROWD)]
            chain.send(client, *(chain.calls.add_funds(job, Wei(1)) for job in jobs))
            chain.rpc(client, "anvil_mine", hex(BACKLOG_BLOCKS * CROWD // BACKLOG_EVENTS))
        chain.rpc(client, "evm_setAutomine", True)
        chain.rpc(client, "evm_mine")
        chain.wait(client)
        head, calls = await tracker.poll(), 0
        named: set[JobId] = set()
        begun = time.perf_counter()
        while cursor.last.hash != head.block.hash:
            changes = await events.changes(cursor, head)
            cursor, calls = changes.cursor, calls + 1
            named |= changes.jobs
        seconds = time.perf_counter() - begun
    asked = {"address": chain.calls.registry, "fromBlock": "0x0", "toBlock": "latest"}
    events_there = len(chain.rpc(client, "eth_getLogs", {**asked, "topics": [job_topics()]}))
    return {
        "seconds": round(seconds, 2),
        "jobs": len(named),
        "blocks": head.block.number,
        "events": events_there,
        "calls": calls,
    }


async def thousand(chain: Chain, client: httpx.Client) -> dict[str, float]:
    """Exchanges and seconds for the ids and the jobs of a provider with 1,000 active jobs."""
    async with reading(chain) as (endpoints, _events, market):
        head = (await HeadTracker(endpoints, Finality(2)).poll()).block
        exchanges = 0
        inner = endpoints.batch

        async def counted(requests: list[Request]) -> list[Any]:
            nonlocal exchanges
            exchanges += -(-len(requests) // 100)
            return await inner(requests)

        endpoints.batch = counted  # type: ignore[method-assign,assignment]  # counts, then asks
        begun = time.perf_counter()
        ids = (await market.jobs_of(chain.provider, head))[:JOBS]
        jobs = await market.jobs(ids, head)
        seconds = time.perf_counter() - begun
    return {"jobs": len(jobs), "exchanges": exchanges, "seconds": round(seconds, 2)}


def measure() -> Iterator[dict[str, Any]]:
    """One figure after the other; making the backlog takes anvil some minutes, reading it not."""
    anvil = find_anvil()
    yield {"node": "anvil" if anvil else "py-evm"}
    with node(anvil) as url, httpx.Client() as client:
        chain = prepared(url, client)
        yield {"notified_ms": asyncio.run(notified(chain, client))}
        if anvil:
            for _ in range(0, JOBS, CROWD):
                chain.send(client, *(request(chain) for _ in range(CROWD)))
            chain.wait(client)
            yield {"thousand_jobs": asyncio.run(thousand(chain, client))}
            yield {"backlog": asyncio.run(backlog(chain, client))}


if __name__ == "__main__":
    for figure in measure():
        sys.stdout.write(json.dumps(figure) + "\n")
        sys.stdout.flush()
