"""HTTP to one node: time, size and pieces bounded, and no word of the key in its URL.

A node's URL usually carries an API key. It is kept in a `SecretUrl`, which shows only scheme,
host and port; nothing raised or logged here has more. Bodies are asked for as they are and nothing
is unpacked: a few kilobytes of gzip in gzip are gigabytes. An answer may be as large as what was
asked for can be, and a large one is parsed off the loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time

import httpcore
import httpx

from agent.chain.answers import LARGE_BYTES, Error, Json, of_one, parsed, said_in
from agent.chain.bounded_stream import BoundedBackend, Crumbs
from agent.chain.proxies import Proxy, proxy_to
from agent.chain.retry_after import asked_wait
from agent.chain.rpc import EndpointDown, Got, Limited, NodeRefused
from agent.secret import SecretUrl
from enclave.shown import USER_AGENT

TIMEOUT_SECONDS = 10.0  # of one exchange; public nodes answer wide eth_getLogs in 2-5 s
MAX_ANSWER_BYTES = 32 * 2**20  # 1,000 jobs are about 1.2 MiB; more is a mistake or an attack
FRAME_BYTES = 64 * 2**10  # of any answer: error pages, too
CONNECTIONS = 20  # to one node
KEPT_SECONDS = 30.0  # idle; balancers end theirs after 60 and more, and some forget them silently

# What the answer to one request may take; others: FRAME_BYTES / 16.
ALLOWED_BYTES = {
    "eth_getLogs": 8 * 2**20,  # nodes cut off at 10,000 logs; a wider range is halved
    "eth_getBlockByNumber": 2 * 2**20,  # 10,000 hashes of transactions, and twice that
    "eth_getBlockByHash": 2 * 2**20,
    "eth_call": 256 * 2**10,  # 50 ids are 3.3 KB, a job with the longest texts 6 KB
    "eth_getTransactionReceipt": 2**20,  # its logs
    "eth_getCode": 64 * 2**10,  # EIP-170: 24 KiB as hex
}
# Whoever says so serves no request at all: no such key or plan, nothing at this path, not this way.
UNPAID = frozenset({401, 402, 403})  # whatever is said beside it
UNSERVED = frozenset({404, 405, 407, 408, 410, 421, 451})  # unless it is said in JSON-RPC
INVALID_PARAMS = -32602  # JSON-RPC's own code: of what was asked, whatever the status says
WHOLE_BLOCK_BYTES = 32 * 2**20  # with its transactions


@dataclass(frozen=True, slots=True)
class _Heard:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes


@dataclass(slots=True)
class _Made:
    """Connections that were made for a request; 0: one that was there carried it."""

    count: int = 0

    async def note(self, event: str, info: Mapping[str, object]) -> None:
        """What httpcore does, step by step (its extension `trace`)."""
        self.count += event == "connection.connect_tcp.complete"


class Http:
    """A `Transport`: each body is one POST. `now` is unix seconds, for waits until a moment."""

    def __init__(
        self,
        url: SecretUrl,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        now: Callable[[], float] = time,
    ) -> None:
        self.url = url
        self._timeout = timeout_seconds
        self._now = now
        self._proxy = proxy_to(url.reveal())
        self._pool = _pool(url, self._proxy)
        self._anew = _pool(url, self._proxy, kept=0)

    async def close(self) -> None:
        await self._pool.aclose()
        await self._anew.aclose()

    async def exchange(self, body: Json) -> Json:
        """The answer's JSON. Raises EndpointDown, NodeRefused."""
        try:
            async with asyncio.timeout(self._timeout):
                heard = await self._heard(body)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
            text = f"{self.url} did not answer in {self._timeout:g} s{self._through()}"
            raise EndpointDown(text, got=Got.SILENCE) from None
        except Crumbs as crumbs:
            raise EndpointDown(f"{self.url} answers {crumbs}", got=Got.WORDS) from None
        except _UNREACHED as broken:
            # "from None": the original may carry the request, and with it the whole URL.
            text = f"{self.url}: {_why(broken, self.url)}{self._through()}"
            raise EndpointDown(text) from None
        except _CUT as broken:
            raise EndpointDown(f"{self.url}: {_why(broken, self.url)}", got=Got.WORDS) from None
        return await self._read(heard)

    def _through(self) -> str:
        """A proxy that is down looks like a node that is."""
        return "" if self._proxy is None else f" (asked through {self._proxy})"

    async def _heard(self, body: Json) -> _Heard:
        """Over a connection that is kept, or, where that was cut, a new one: a balancer that ends
        idle ones without a word cuts each first request after a pause, and is well all the same.
        What is sent twice is done once: reads, and the same signed bytes."""
        made = _Made()
        try:
            return await self._post(self._pool, body, made)
        except _CUT:
            if made.count:
                raise
        return await self._post(self._anew, body, made)

    async def _post(self, pool: httpcore.AsyncConnectionPool, body: Json, made: _Made) -> _Heard:
        most, received = most_bytes(body), bytearray()
        content = json.dumps(body).encode()
        seconds = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout)
        request = pool.stream(
            "POST", self.url.reveal().partition("#")[0], headers=_headers(self.url, content),
            content=content, extensions={"timeout": seconds, "trace": made.note},
        )  # fmt: skip
        async with request as response:
            headers = {
                k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers
            }
            if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
                raise Crumbs("packed, though it was asked not to")
            pieces = 0
            async for piece in response.aiter_stream():
                received += piece
                pieces += 1
                if len(received) > most:
                    raise NodeRefused(f"{self.url} answers more than {most} bytes")
                if pieces > 256 and len(received) < 64 * pieces:
                    raise Crumbs(f"in crumbs: {len(received)} bytes in {pieces} pieces")
        return _Heard(response.status, headers, bytes(received))

    async def _read(self, heard: _Heard) -> Json:
        if len(heard.body) > LARGE_BYTES:
            answer = await asyncio.to_thread(parsed, heard.body)
        else:
            answer = parsed(heard.body)
        if 200 <= heard.status < 300 and answer is not None and not isinstance(answer, str):
            return answer
        return self._refused(heard, answer)

    def _refused(self, heard: _Heard, answer: Json) -> Json:
        """What a status or a page means. An answer that speaks of the requests counts as that."""
        if isinstance(answer, list) and len(answer) > 1:
            return answer
        error = of_one(answer)
        if isinstance(error, Error) and (error.is_revert or error.code == INVALID_PARAMS):
            return answer
        text = self._sentence(heard, answer)
        words = error if isinstance(error, Error) else Error(0, said_in(heard.body, answer))
        if heard.status == 429 or words.is_rate:
            wait = asked_wait(heard.headers, words.message, words.data, self._now())
            raise Limited(text, after_seconds=wait, got=Got.WORDS)
        told, status = isinstance(error, Error), heard.status
        unserved = status in UNPAID or (status in UNSERVED and not told)
        if unserved or status >= 500 or status < 400:
            wait = asked_wait(heard.headers, "", None, self._now())
            raise EndpointDown(text, after_seconds=wait, got=Got.WORDS)
        if told:
            return answer
        raise NodeRefused(text)

    def _sentence(self, heard: _Heard, answer: Json) -> str:
        """One line: the status, and the node's own words without a key."""
        if 300 <= heard.status < 400:
            place = _place(heard.headers.get("location", ""))
            return f"{self.url} redirects (HTTP {heard.status}) to {place}: name that URL itself"
        said = self.url.redact(said_in(heard.body, answer))
        status = f"HTTP {heard.status}" if heard.status >= 300 else "no JSON"
        through = self._through() if heard.status == 407 else ""
        return f"{self.url} answers {status}{through}" + (f": {said}" if said else "")


# Before anything was sent.
_UNREACHED = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout,
              httpcore.UnsupportedProtocol, httpcore.ProxyError)  # fmt: skip
_CUT = (httpcore.NetworkError, httpcore.ProtocolError, OSError)


def _why(broken: Exception, url: SecretUrl) -> str:
    """`ConnectError: Connection refused`, as far as there are words."""
    words = url.redact(" ".join(str(broken).split()))[:100]
    return f"{type(broken).__name__}: {words}" if words else type(broken).__name__


def _place(location: str) -> str:
    """Scheme and host alone: the rest may have the key in it."""
    try:
        url = httpx.URL(location)
    except httpx.InvalidURL:
        return "somewhere else"
    return f"{url.scheme}://{url.host}/…" if url.host else "another path"


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def most_bytes(body: Json) -> int:
    """The most that an honest answer to this body takes."""
    requests = body if isinstance(body, list) else [body]
    return min(MAX_ANSWER_BYTES, FRAME_BYTES + sum(_allowed(each) for each in requests))


def _allowed(request: Json) -> int:
    method, params = request["method"], request["params"]
    if method.startswith("eth_getBlock") and params[-1] is True:
        return WHOLE_BLOCK_BYTES
    return ALLOWED_BYTES.get(method, FRAME_BYTES // 16)


def _headers(url: SecretUrl, content: bytes) -> list[tuple[str, str]]:
    parts = httpx.URL(url.reveal())
    given = [
        ("Host", parts.netloc.decode("ascii")),
        ("User-Agent", USER_AGENT),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
    ]
    if parts.userinfo:
        basic = httpx.BasicAuth(parts.username, parts.password)
        request = next(basic.auth_flow(httpx.Request("POST", parts)))
        given.append(("Authorization", request.headers["Authorization"]))
    return given


def _pool(
    url: SecretUrl, proxy: Proxy | None, kept: int = CONNECTIONS
) -> httpcore.AsyncConnectionPool:
    """`kept`: how many connections stay for later requests."""
    tls = httpx.create_ssl_context() if httpx.URL(url.reveal()).scheme == "https" else None
    backend = BoundedBackend()
    if proxy is None:
        return httpcore.AsyncConnectionPool(
            ssl_context=tls, max_connections=CONNECTIONS, max_keepalive_connections=kept,
            keepalive_expiry=KEPT_SECONDS, network_backend=backend,
        )  # fmt: skip
    return httpcore.AsyncHTTPProxy(
        proxy_url=str(proxy.httpx.url), proxy_auth=proxy.httpx.raw_auth, ssl_context=tls,
        max_connections=CONNECTIONS, max_keepalive_connections=kept,
        keepalive_expiry=KEPT_SECONDS, network_backend=backend,
    )  # fmt: skip
