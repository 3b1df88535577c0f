"""A node that answers what a test says, byte by byte, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Json = Any
# From the request's body: status, further headers and a body; or raw bytes, and then it hangs up;
# or None: it hangs up at once.
Say = Callable[[Json], "Said | bytes | Iterable[bytes] | None"]


@dataclass
class Said:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, answer: Json, status: int = 200, **headers: str) -> Said:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(json.dumps(answer).encode(), status, named)


@dataclass
class OddNode:
    """`bodies`: all that it was asked, `heads`: with which headers."""

    say: Say
    bodies: list[Json] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        body = json.loads(await reader.readexactly(length))
        self.heads.append(head)
        self.bodies.append(body)
        said = self.say(body)
        if isinstance(said, Said):
            lines = [f"HTTP/1.1 {said.status} X", f"Content-Length: {len(said.body)}"]
            lines += [f"{name}: {value}" for name, value in said.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + said.body)
            await writer.drain()
            return True
        for piece in [said] if isinstance(said, bytes) else said or []:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return False


@asynccontextmanager
async def odd_node(say: Say) -> AsyncIterator[OddNode]:
    node = OddNode(say)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield node
    finally:
        server.close()
        await server.wait_closed()


def answered(request: Json) -> Json:
    """A true answer, which names what was asked."""
    result = "0x1" if request["method"] == "eth_chainId" else request["params"][0]
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def each(body: Json) -> Json:
    return [answered(one) for one in body] if isinstance(body, list) else answered(body)
