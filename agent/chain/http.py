"""HTTP to one node: time and size bounded, and no word of the key in its URL.

A node's URL usually carries an API key. It is kept in a `SecretUrl`, which shows only scheme,
host and port; nothing raised or logged here has more.
"""

from __future__ import annotations

import asyncio
import json
import logging

import httpx

from agent.chain.rpc import EndpointDown, Json, NodeRefused
from agent.secret import SecretUrl

TIMEOUT_SECONDS = 10.0  # of one exchange; public nodes answer wide eth_getLogs in 2-5 s
MAX_ANSWER_BYTES = 32 * 2**20  # 1,000 jobs are about 1.2 MiB; more is a mistake or an attack

_AUTH_OR_RATE = (401, 403, 429)  # the node answers nobody like us now, whatever the request


class _NoUrls(logging.Filter):
    """httpx logs each request's whole URL at INFO; this leaves scheme and host."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{arg.scheme}://{arg.host}/…" if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_NoUrls())


class Http:
    """A `Transport`: each body is one POST."""

    def __init__(self, url: SecretUrl, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url
        self._timeout = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds)

    async def close(self) -> None:
        await self._client.aclose()

    async def exchange(self, body: Json) -> Json:
        """The answer's JSON. Raises EndpointDown, NodeRefused."""
        try:
            async with asyncio.timeout(self._timeout):
                return self._parse(*await self._post(body))
        except TimeoutError:
            raise EndpointDown(f"{self.url} did not answer in {self._timeout:g} s") from None
        except httpx.HTTPError as broken:
            # "from None": the original carries the request, and with it the whole URL.
            raise EndpointDown(f"{self.url}: {type(broken).__name__}") from None

    async def _post(self, body: Json) -> tuple[httpx.Response, bytes]:
        received = bytearray()
        async with self._client.stream("POST", self.url.reveal(), json=body) as response:
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_ANSWER_BYTES:
                    raise NodeRefused(f"{self.url} answers more than {MAX_ANSWER_BYTES} bytes")
        return response, bytes(received)

    def _parse(self, response: httpx.Response, received: bytes) -> Json:
        if response.status_code in _AUTH_OR_RATE or response.status_code >= 500:
            raise EndpointDown(
                f"{self.url} answers HTTP {response.status_code}",
                after_seconds=_retry_after(response),
            )
        try:
            answer = json.loads(received)
        except (ValueError, RecursionError):
            answer = None
        if response.status_code >= 400 and not (isinstance(answer, dict) and "error" in answer):
            raise NodeRefused(f"{self.url} answers HTTP {response.status_code}")
        if answer is None:
            raise EndpointDown(f"{self.url} answers no JSON")
        return answer


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 300.0) if text.isascii() and text.isdigit() else None
