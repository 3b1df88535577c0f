"""Finding our jobs on MarketV1 behind 5,000 of others: exchanges and seconds, at first and then.

The contract has no list of a provider's jobs, so each id is read once. The node is a real HTTP
server that answers each exchange after 20 ms, as one across a continent does, with metadata of the
usual length.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent.chain.endpoints import Endpoints
from agent.clock import SystemClock
from agent.market.model import Address, BlockNumber, BlockRef
from agent.markets.marketv1.reads import Market, market_abi
from agent.markets.marketv1.terms import MarketV1Terms
from bench.figure import Figure

JOBS = 5_000
AWAY_SECONDS = 0.02
METADATA = json.dumps({"url": "https://images.example/base.eif", "init_params": "A" * 400}).encode()
US, OTHERS = Address("0x" + "11" * 20), 8
HEAD = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, 1_800_000_000)


class Node(BaseHTTPRequestHandler):
    """JSON-RPC, single and in batches: so many jobs of others, and ours last."""

    protocol_version = "HTTP/1.1"
    exchanges = 0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        many = asked if isinstance(asked, list) else [asked]
        said = [{"jsonrpc": "2.0", "id": one["id"], "result": _answer(one)} for one in many]
        body = json.dumps(said if isinstance(asked, list) else said[0]).encode()
        type(self).exchanges += 1
        time.sleep(AWAY_SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def _answer(request: dict[str, Any]) -> str:
    if request["method"] == "eth_chainId":
        return "0xa4b1"
    if request["method"] != "eth_call":
        return "0x0"
    data = str(request["params"][0]["data"])
    selectors = {f.selector.hex(): name for name, f in market_abi().functions.items()}
    name = selectors[data[2:10]]
    if name == "jobIndex":
        return f"0x{JOBS + 1:064x}"
    if name == "locks":
        return "0x" + "0" * 128
    return _job(ours=int(data[10:], 16) == JOBS)


def _job(*, ours: bool) -> str:
    provider = int(US, 16) if ours else OTHERS
    words = (192, 9, provider, 10**12, 10**9, HEAD.timestamp, len(METADATA))
    padded = METADATA.hex().ljust(-(-len(METADATA) // 32) * 64, "0")
    return "0x" + "".join(f"{word:064x}" for word in words) + padded


@contextmanager
def node() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def _looks(url: str) -> list[tuple[int, float]]:
    """Exchanges and seconds of the first look and of one a day later."""
    endpoints = await Endpoints.open([url], SystemClock())
    market = Market(endpoints, US, MarketV1Terms())
    found = []
    for block in (HEAD.number, HEAD.number + 345_600):
        at = BlockRef(BlockNumber(block), HEAD.hash, HEAD.timestamp)
        before, begun = Node.exchanges, time.monotonic()
        assert list(await market.open_jobs(US, at)) == [JOBS]
        found.append((Node.exchanges - before, time.monotonic() - begun))
    await endpoints.close()
    return found


def run() -> list[Figure]:
    with node() as url:
        (first, seconds), (then, later) = asyncio.run(_looks(url))
    note = f"{JOBS} jobs of others before ours, a node {AWAY_SECONDS * 1000:.0f} ms away"
    return [
        Figure("first look: exchanges", first, "exchanges", 55, at_most=True, note=note),
        Figure("first look: seconds", round(seconds, 2), "s", 5, at_most=True, note=note),
        Figure("later look: exchanges", then, "exchanges", 5, at_most=True, note="a day later"),
        Figure("later look: seconds", round(later, 3), "s", note="a day later"),
    ]


if __name__ == "__main__":
    json.dump([figure.record() for figure in run()], sys.stdout, indent=2)
