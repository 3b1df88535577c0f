"""A debug enclave's console, served on TCP 516 as Marlin's logger serves it.

`/logs/tail-log-id`, `/logs/history?log_id&offset` (a JSON list), `/logs/stream?start_from` (SSE)
and `/logs`; each line is `[id] text`, ids count from 1. What `nitro-cli console` says is kept in
memory up to a bound: the disk is the image's, and a console that floods costs nobody else anything.
A console can only be read of an enclave in debug mode, whose memory anybody on its host can read.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
from collections import deque
from collections.abc import Callable

from enclave.host.network.http import Answer, Server
from enclave.host.network.loop import READ, Loop
from enclave.host.network.wires import Wires

PORT = 516
KEPT_BYTES = 1 << 20
LINE_BYTES = 4096
MOST_READERS = 16
AGAIN_SECONDS = 1.0
_OFFSET, _MOST_OFFSET = 10, 10_000


class Lines:
    """The last lines, by their numbers; never more than `KEPT_BYTES` of them. Pure."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._lines: deque[str] = deque()
        self._kept, self._size = kept_bytes, 0
        self.last = 0
        self._rest = b""

    def add(self, data: bytes) -> list[str]:
        """The whole lines that came by this, each with its number; a long one is cut in pieces."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            whole.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return [self._keep(line[:LINE_BYTES]) for line in whole]

    def _keep(self, line: bytes) -> str:
        self.last += 1
        text = f"[{self.last}] " + line.decode(errors="replace").rstrip("\r")
        self._lines.append(text)
        self._size += len(text)
        while self._size > self._kept:
            self._size -= len(self._lines.popleft())
        return text

    def since(self, number: int, most: int | None = None) -> list[str]:
        """Lines from this number on, as far as they are kept."""
        first = self.last - len(self._lines) + 1
        start = max(number - first, 0)
        found = list(self._lines)[start:]
        return found if most is None else found[:most]


def respond(path: str, lines: Lines) -> Answer:
    """The answer to a path, with Marlin's defaults for what is not asked or is no number."""
    parts = urllib.parse.urlsplit(path)
    query = urllib.parse.parse_qs(parts.query)
    if parts.path == "/logs":
        return Answer(200, ("\n".join(lines.since(0)) + "\n").encode(), "text/plain; charset=utf-8")
    if parts.path == "/logs/tail-log-id":
        return Answer(200, json.dumps({"log_id": lines.last}).encode(), "application/json")
    if parts.path == "/logs/history":
        offset = min(_number(query, "offset", _OFFSET), _MOST_OFFSET)
        start = max(_number(query, "log_id", lines.last) - offset, 1)
        return Answer(200, json.dumps(lines.since(start, offset)).encode(), "application/json")
    if parts.path == "/logs/stream":
        start = _number(query, "start_from", lines.last)
        return Answer(200, events(lines.since(start)), "text/event-stream", follows=True)
    return Answer(404, b"not served here\n")


def events(lines: list[str]) -> bytes:
    """As server-sent events (HTML standard, "Server-sent events")."""
    return "".join(f"data:{line}\n\n" for line in lines).encode()


def _number(query: dict[str, list[str]], name: str, otherwise: int) -> int:
    text = query.get(name, [""])[0]
    return int(text) if text.isdecimal() and len(text) < 20 else otherwise


class Console:
    """`nitro-cli console` of one enclave, read for ever, and who asks. For the loop's thread."""

    def __init__(
        self, loop: Loop, wires: Wires, clock: Callable[[], float], enclave_id: str
    ) -> None:
        self._loop, self._wires, self._clock, self._id = loop, wires, clock, enclave_id
        self._lines = Lines()
        self._server = Server(
            loop, clock, lambda path: respond(path, self._lines), most=MOST_READERS
        )
        self._tool: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0
        self.problem: str | None = None

    def tick(self, now: float) -> None:
        """Listen and read, where that is not so."""
        if not self._server.listens:
            self._open()
        if self._tool is None and now >= self._again_at:
            self._again_at = now + AGAIN_SECONDS
            self._read()
        self._server.tick(now)

    def _open(self) -> None:
        try:
            addresses = self._wires.listening_addresses()
            self._server.open([self._wires.listen_tcp(one, PORT) for one in addresses])
            self.problem = None
        except OSError as error:
            self.problem = f"cannot serve the console on TCP {PORT}: {error.strerror}"

    def _read(self) -> None:
        try:
            self._tool = subprocess.Popen(
                ["nitro-cli", "console", "--enclave-id", self._id],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self.problem = f"cannot read the console: {error}"
            return
        assert self._tool.stdout is not None
        os.set_blocking(self._tool.stdout.fileno(), False)
        self._loop.watch(self._tool.stdout.fileno(), 0, READ, self._take)

    def _take(self, _: int) -> None:
        if self._tool is None or self._tool.stdout is None:
            return
        try:
            data = os.read(self._tool.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._end_tool()
            return
        self._server.publish(events(self._lines.add(data)))

    def _end_tool(self) -> None:
        if self._tool is None or self._tool.stdout is None:
            return
        self._loop.watch(self._tool.stdout.fileno(), READ, 0, self._take)
        self._tool.stdout.close()
        self._tool.kill()
        self._tool.wait()
        self._tool = None

    def close(self) -> None:
        """Another enclave, or none."""
        self._end_tool()
        self._server.close()
