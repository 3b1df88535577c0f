"""A connection whose pieces are bounded as its bytes are.

The parser is woken for each piece that arrives: a node that sends `HTTP/1.1 100` without end, or
a byte at a time, takes the loop from everyone. Here reading is paused, longer and longer, while
pieces are small, so that the kernel collects; and what never ends is given up.
"""

from __future__ import annotations

import asyncio
import ssl
import typing
from collections.abc import Iterable

import httpcore

READ_BYTES = 16 * 2**10  # parsed at once: 16 KiB of the smallest chunks take about 20 ms
SMALL_BYTES = 1024
FREE_READS = 8  # small ones that are no sign of anything: head, body, end, and slow starts
MAX_SMALL_READS = 64  # for one answer: 64 KiB come in fewer from anyone honest
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.004, 0.25
MAX_INTERIM = 4  # answers with a status of 1xx before the one that counts


class Crumbs(Exception):
    """The answer is not one that is listened to; its text says why."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """Another stream, counted anew with each request."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._small = self._interim = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._small > FREE_READS:
            longer = FIRST_PAUSE_SECONDS * 1.2 ** (self._small - FREE_READS)
            await asyncio.sleep(min(longer, LONGEST_PAUSE_SECONDS))
        data = await self._inner.read(min(max_bytes, READ_BYTES), timeout)
        self._small += len(data) < SMALL_BYTES
        self._interim += data.count(b"HTTP/1.1 1") + data.count(b"HTTP/1.0 1")
        if self._interim > MAX_INTERIM:
            raise Crumbs(f"more than {MAX_INTERIM} times that it will answer")
        if self._small > MAX_SMALL_READS:
            raise Crumbs(f"in crumbs: {self._small} pieces of less than {SMALL_BYTES} bytes")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._small = self._interim = 0
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> typing.Any:
        return self._inner.get_extra_info(info)


class BoundedBackend(httpcore.AsyncNetworkBackend):
    """Connections of the usual kind, bounded."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        made = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return BoundedStream(made)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
