"""`eth_getLogs` over too many blocks, as services refuse it: a range is found that works.

Each row is what one was seen to answer (reports of indexers and keepers about Infura, Alchemy,
QuickNode and others; the operative words); beside them whole batches that are cut off by what
stands before a node. Nobody's sentence has to be known: who refuses is asked for fewer blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader, Mark
from agent.chain.head import Head
from agent.market.model import Address, BlockNumber, BlockRef, JobId
from faults import RetryLater, TryElsewhere
from tests.agent.chain.odd_node import Json, Said, odd_node
from tests.clocks import MovingClock

pytestmark = pytest.mark.integration

HEAD = 3000
LOG_AT = 2777  # in which block the one event is
LOOKS = 15  # ever shorter ones, where the refusal says nothing that is JSON-RPC


@dataclass(frozen=True)
class Row:
    """What a service answers to too wide a range."""

    who: str
    code: int
    text: str
    status: int = 200
    data: Json = None

    def item(self, request: Json) -> Json:
        error = {"code": self.code, "message": self.text}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": request["id"], "error": error}


ROWS = [
    Row("infura, results", -32005, "query returned more than 10000 results"),
    Row("infura, range", -32602, "range 1000000 exceeds limit of 10000"),
    Row("alchemy, free", -32600, "eth_getLogs requests with up to a 10 block range", 400),
    Row("alchemy, size", -32602, "Log response size exceeded. up to a 2K block range", 400),
    Row("quicknode", -32614, "eth_getLogs is limited to a 10,000 range", 413),
    Row("ankr", -32000, "block range is too wide"),
    Row("bsc", -32005, "limit exceeded"),
    Row("cloudflare", -32047, "Invalid eth_getLogs request. range too large. Max range: 800"),
    Row("chainstack", -32000, "Block range limit exceeded. See more details"),
    Row("llamarpc", -32602, "eth_getLogs range is too large, max is 1k blocks"),
    Row("tenderly", -32602, "invalid params", data={"payload": "range 9009594 is bigger"}),
    Row("erigon", -32603, "backend response too large"),
    Row("nitro", -32000, "context deadline exceeded"),
    Row("geth", -32002, "request timed out"),
    Row("zksync", -32602, "Query returned more than 10000 results. Try with [0x1, 0x2]."),
    Row("drpc", 35, "ranges over 10000 blocks are not supported on freetier"),
    Row("blast", 0, "block range greater than 1000 max"),
    Row("pokt", -32602, "block range too large", 400),
    Row("text for a code", -32602, "exceed maximum block range: 5000", 403),
]
WHOLE = {
    "413, a page": Said(b"<html>413 Request Entity Too Large</html>", 413),
    "400, words": Said(b"query exceeds max results 20000", 400),
    "524, a page": Said(b"<html>524: A timeout occurred</html>", 524),
    "504, a page": Said(b"<html>504 Gateway Time-out</html>", 504),
    "200, a page": Said(b"<html>Too many logs</html>", 200),
    "200, no JSON-RPC": Said.json({"error": "block range too large", "code": 1015}),
    "one error for all": Said.json(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "response too large"}}
    ),
    "429, for the size": Said.json(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32005, "message": "limit exceeded"}}, 429
    ),
    "503, for the size": Said.json(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "query timeout"}}, 503
    ),
    "hangs up": None,
}


def block(number: int) -> Json:
    return {"number": hex(number), "hash": f"0x{number:064x}", "timestamp": hex(number),
            "parentHash": f"0x{number - 1:064x}"}  # fmt: skip


def span(request: Json) -> int:
    asked = request["params"][0]
    return int(asked["toBlock"], 16) - int(asked["fromBlock"], 16) + 1


def too_wide(body: Json, most: int) -> bool:
    asked = body if isinstance(body, list) else [body]
    return any(one["method"] == "eth_getLogs" and span(one) > most for one in asked)


def fine(request: Json) -> Json:
    match request["method"]:
        case "eth_getLogs":
            asked = request["params"][0]
            there = int(asked["fromBlock"], 16) <= LOG_AT <= int(asked["toBlock"], 16)
            result: Json = [LOG] if there else []
        case "eth_getBlockByNumber":
            result = block(int(request["params"][0], 16))
        case _:
            result = "0x1"
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


CONTRACT = Address("0x" + "11" * 20)
TOPIC = "0x" + "22" * 32
LOG = {
    "address": CONTRACT, "topics": [TOPIC], "data": "0x", "logIndex": "0x0", "removed": False,
    "blockNumber": hex(LOG_AT), "blockHash": f"0x{LOG_AT:064x}", "transactionIndex": "0x0",
    "transactionHash": "0x" + "33" * 32,
}  # fmt: skip


def by_item(row: Row, most: int) -> Callable[[Json], Said]:
    """The request alone is refused, with the status that comes with it."""

    def say(body: Json) -> Said:
        status = row.status if too_wide(body, most) else 200
        asked = body if isinstance(body, list) else [body]
        told = [row.item(one) if too_wide(one, most) else fine(one) for one in asked]
        return Said.json(told if isinstance(body, list) else told[0], status)

    return say


async def looks_needed(say: Callable[[Json], Said | None]) -> int:
    """How many looks it takes until the event far ahead is found."""
    async with odd_node(say) as node:
        clock = MovingClock(0.0)
        endpoints = await Endpoints.open([node.url], clock, chain_id=1)
        try:
            return await _looks(endpoints)
        finally:
            await endpoints.close()


async def _looks(endpoints: Endpoints) -> int:
    reader = EventReader(endpoints, CONTRACT, [TOPIC], lambda logs: [JobId(1)] * len(logs))
    final, ref = (BlockRef(BlockNumber(n), block(n)["hash"], n) for n in (1, HEAD))
    cursor = Cursor((Mark(BlockNumber(1), block(1)["hash"]),))
    jobs: set[JobId] = set()
    for looks in range(1, LOOKS + 1):
        try:
            changes = await reader.changes(cursor, Head(ref, final))
        except (RetryLater, TryElsewhere):
            continue
        jobs |= changes.jobs
        cursor = changes.cursor
        if changes.as_of >= HEAD:
            assert jobs == {JobId(1)}
            return looks
    raise AssertionError(f"block {cursor.last.number} is all that is read")


@pytest.mark.parametrize("row", ROWS, ids=[row.who for row in ROWS])
async def test_logs__too_wide__are_read_in_ranges_that_the_node_takes_at_once(row: Row) -> None:
    assert await looks_needed(by_item(row, 10 if "10 block" in row.text else 800)) == 1


@pytest.mark.parametrize("whole", WHOLE, ids=list(WHOLE))
async def test_logs__too_wide_and_all_is_cut_off__are_read_within_some_looks(whole: str) -> None:
    def say(body: Json) -> Said | None:
        if too_wide(body, 800):
            return WHOLE[whole]
        asked = body if isinstance(body, list) else [body]
        told = [fine(one) for one in asked]
        return Said.json(told if isinstance(body, list) else told[0])

    assert await looks_needed(say) <= LOOKS
