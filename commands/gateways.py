"""Whether gateways serve trustless blocks, asked with one that nearly every IPFS node has."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import httpx

# The empty UnixFS directory: four bytes, pinned by default wherever Kubo runs.
EMPTY_DIRECTORY = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
_SHA256 = "59948439065f29619ef41280cbb932be52c56d99c5966b65e0111239f098bbef"
_SECONDS = 8.0
_MAX_BYTES = 1024


async def answering(gateways: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Gateways by what they did: served the right bytes, answered otherwise, did not answer."""
    async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=True) as client:
        results = await asyncio.gather(*(_ask(client, gateway) for gateway in gateways))
    by = {
        word: [g for g, r in zip(gateways, results, strict=True) if r == word] for word in results
    }
    return by.get("good", []), by.get("other", []), by.get("dead", [])


async def _ask(client: httpx.AsyncClient, gateway: str) -> str:
    url = f"{gateway.rstrip('/')}/ipfs/{EMPTY_DIRECTORY}"
    try:
        async with client.stream("GET", url, params={"format": "raw"}) as answer:
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    break
    except httpx.HTTPError:
        return "dead"
    return "good" if hashlib.sha256(body).hexdigest() == _SHA256 else "other"
