"""One short answer over HTTP/1.1, from somebody who may want to keep us busy.

A client that is woken for each piece that arrives and parses it there lets an enclave that sends
`HTTP/1.1 100` without end, or a byte a chunk, take seconds of the loop. Here the kernel collects:
after each look at what came reading is paused, longer and longer, so that looks are bounded as
bytes and seconds are. The answer is parsed once, when it is whole, and not on the loop.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from enclave.shown import USER_AGENT, shown
from faults import RetryLater

MAX_LOOKS = 64  # at what arrived, for one answer; an honest one takes one to five
FIRST_PAUSE_SECONDS = 0.004
LONGEST_PAUSE_SECONDS = 0.25
MAX_INTERIM = 4  # answers with a status of 1xx before the one that counts
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_LAST_CHUNK = re.compile(rb"\r\n0{1,8}[ \t]*(?:;[^\r\n]*)?\r\n")
_TAIL_BYTES = 1024  # where the end of a chunked body, with what may follow it, is looked for


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask; `seconds` for all of it, `most_bytes` of head and body together."""

    host: str
    port: int
    path: str
    seconds: float
    most_bytes: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"


async def ask(place: Place) -> bytes:
    """The body of a 200, as it came: nothing is unpacked. Raises RetryLater."""
    loop = asyncio.get_running_loop()
    ear = _Ear(_request(place), place.most_bytes, loop)
    try:
        async with asyncio.timeout(place.seconds):
            transport, _ = await loop.create_connection(lambda: ear, place.host, place.port)
            try:
                heard = await ear.heard
            finally:
                transport.abort()
    except (OSError, TimeoutError) as broken:
        what = str(broken) or type(broken).__name__
        raise RetryLater(f"{place.url} does not answer: {what}") from None
    except _Odd as odd:
        raise RetryLater(f"{place.url} answers {odd}") from None
    status, body = await loop.run_in_executor(_lane(), _parsed, heard, place.url)
    if status != http.client.OK:
        raise RetryLater(f"{place.url} answers {status}")
    return body


@lru_cache(maxsize=1)
def _lane() -> ThreadPoolExecutor:
    """One answer is parsed at a time: on as many threads as a pool has, the loop would wait for the
    interpreter behind each of them."""
    return ThreadPoolExecutor(1, thread_name_prefix="answers")


class _Odd(Exception):
    """The answer is not one that is listened to; its text says why."""


class _Ear(asyncio.Protocol):
    """Collects one answer in few looks; `heard` is the whole of it, or why there is none."""

    def __init__(self, request: bytes, most_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self._request = request
        self._most_bytes = most_bytes
        self._loop = loop
        self._buffer = bytearray()
        self._looks = 0
        self._transport: asyncio.Transport | None = None
        self.heard: asyncio.Future[bytes] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._looks += 1
        try:
            whole = is_whole(self._buffer)
        except _Odd as odd:
            self._end(odd)
            return
        if len(self._buffer) > self._most_bytes:
            self._end(_Odd(f"more than {self._most_bytes} bytes"))
        elif whole:
            self._end(None)
        elif self._looks >= MAX_LOOKS:
            self._end(_Odd(f"in crumbs: {len(self._buffer)} bytes in {self._looks} pieces"))
        else:
            self._pause()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
            longer = FIRST_PAUSE_SECONDS * 1.5 ** (self._looks - 1)
            pause = min(longer, LONGEST_PAUSE_SECONDS)
            self._loop.call_later(pause, self._transport.resume_reading)

    def _end(self, why: Exception | None) -> None:
        if self.heard.done():
            return
        if why is not None:
            self.heard.set_exception(why)
        else:
            self.heard.set_result(bytes(self._buffer))
        if self._transport is not None:
            self._transport.pause_reading()


def is_whole(heard: bytes | bytearray) -> bool:
    """Whether this looks like all of an answer, by little more than its end. Raises _Odd.

    It is parsed afterwards: what only looked whole is one that broke off.
    """
    start = _start(heard)
    end = heard.find(_HEAD_END, start)
    if end < 0 or _is_interim(heard, start):
        return False
    body = end + len(_HEAD_END)
    length = _LENGTH.search(heard, start, end + 2)
    if length is not None:
        return len(heard) - body >= int(length[1])
    tail = heard[max(body - 2, len(heard) - _TAIL_BYTES) :]
    return tail.endswith(_HEAD_END) and _LAST_CHUNK.search(tail) is not None


def _start(heard: bytes | bytearray) -> int:
    """Where the answer that counts begins, or will. Raises _Odd: behind too many that do not."""
    start = 0
    for _ in range(MAX_INTERIM + 1):
        end = heard.find(_HEAD_END, start)
        if end < 0 or not _is_interim(heard, start):
            return start
        start = end + len(_HEAD_END)
    raise _Odd(f"more than {MAX_INTERIM} times that it will answer")


def _is_interim(heard: bytes | bytearray, start: int) -> bool:
    """Whether the head there is of a status of 1xx."""
    return heard[start : start + 10] in (b"HTTP/1.1 1", b"HTTP/1.0 1")


def _request(place: Place) -> bytes:
    lines = [
        f"GET {place.path} HTTP/1.1",
        f"Host: {place.host}:{place.port}",
        f"User-Agent: {USER_AGENT}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _parsed(heard: bytes, url: str) -> tuple[int, bytes]:
    """Status and body. Raises RetryLater: no whole answer."""
    try:
        last = _Heard(heard[_start(heard) :])  # http.client skips 100 alone, not all of 1xx
        answer = http.client.HTTPResponse(last)  # type: ignore[arg-type]  # all it reads by
        answer.begin()
        body = _unchunked(last.heard) if answer.chunked else answer.read()
        return answer.status, body
    except (http.client.HTTPException, ArithmeticError, ValueError, OSError, _Odd) as broken:
        raise RetryLater(f"{url} does not answer in HTTP: {shown(repr(broken), 100)}") from None


def _unchunked(heard: bytes) -> bytes:
    """The body of a chunked answer. http.client takes a dozen calls a chunk, so that a chunk a byte
    was 20 ms of the interpreter for each answer. Raises ValueError: it breaks off."""
    at, parts = heard.find(_HEAD_END) + len(_HEAD_END), list[bytes]()
    while (size := _CHUNK.match(heard, at)) is not None:
        begin, length = size.end(), int(size[1], 16)
        if length == 0:
            return b"".join(parts)
        at = begin + length + 2
        if heard[begin + length : at] != b"\r\n":
            break
        parts.append(heard[begin : begin + length])
    raise ValueError("a chunk breaks off")


class _Heard:
    """What `HTTPResponse` needs of a socket: a file of what was received."""

    def __init__(self, heard: bytes) -> None:
        self.heard = heard

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.heard)
