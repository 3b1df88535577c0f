"""A debug enclave's console, served on TCP 516 as Marlin's logger serves it.

`/logs/tail-log-id`, `/logs/history?log_id&offset` (a JSON list), `/logs/stream?start_from` (SSE)
and `/logs`; each line is `[id] text`, ids count from 1 and go on over enclaves and restarts. What
`nitro-cli console` says is kept on disk up to a bound (`console_log`), its newest part in memory
too: history reaches back to the disk's oldest line, all else to memory's. It is served while no
enclave runs as well, since why one ended is what people look for. A console can only be read of an
enclave in debug mode, whose memory anybody on its host can read.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from enclave.host.network.console_log import ConsoleLog
from enclave.host.network.http import Answer, Server
from enclave.host.network.loop import READ, Loop
from enclave.host.network.orders import Watched
from enclave.host.network.wires import Wires

PORT = 516
KEPT_BYTES = 1 << 20  # in memory
LINE_BYTES = 4096
MOST_READERS = 16
AGAIN_SECONDS = 1.0
_OFFSET, _MOST_OFFSET = 10, 10_000


Line = tuple[int, str]
"""A line's number, and its text as it is served, which begins with it."""


class Lines:
    """The last lines, by their numbers; never more than `KEPT_BYTES` of them. Pure."""

    def __init__(self, kept_bytes: int = KEPT_BYTES, before: Iterable[Line] = ()) -> None:
        self._lines: deque[Line] = deque()
        self._kept, self._size = kept_bytes, 0
        self.last = 0
        self._rest = b""
        for line in before:
            self._keep(line)

    @property
    def first(self) -> int:
        """The oldest number that is kept, or the next there will be."""
        return self._lines[0][0] if self._lines else self.last + 1

    def add(self, data: bytes) -> list[Line]:
        """The whole lines that came by this, each with its number; a long one is cut in pieces."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            whole.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return [self._number(line[:LINE_BYTES]) for line in whole]

    def end(self) -> list[Line]:
        """Nothing follows on the half line that is left: it is one by itself."""
        return self.add(b"\n") if self._rest else []

    def _number(self, line: bytes) -> Line:
        number = self.last + 1
        return self._keep((number, f"[{number}] " + line.decode(errors="replace").rstrip("\r")))

    def _keep(self, line: Line) -> Line:
        self.last = line[0]
        self._lines.append(line)
        self._size += len(line[1])
        while self._size > self._kept:
            self._size -= len(self._lines.popleft()[1])
        return line

    def since(self, number: int, most: int | None = None) -> list[str]:
        """Lines of the numbers `number` to `number + most - 1`, as far as they are kept."""
        end = self.last + 1 if most is None else number + most
        return [text for at, text in self._lines if number <= at < end]


def respond(path: str, lines: Lines, kept: ConsoleLog) -> Answer:
    """The answer to a path, with Marlin's defaults for what is not asked or is no number; what
    `lines` has no more is looked for in `kept`."""
    place, _, asked = path.partition("?")  # urlsplit raises for what looks like a host in brackets
    query = urllib.parse.parse_qs(asked)
    if place == "/logs":
        return Answer(200, ("\n".join(lines.since(0)) + "\n").encode(), "text/plain; charset=utf-8")
    if place == "/logs/tail-log-id":
        return Answer(200, json.dumps({"log_id": lines.last}).encode(), "application/json")
    if place == "/logs/history":
        offset = min(_number(query, "offset", _OFFSET), _MOST_OFFSET)
        start = max(_number(query, "log_id", lines.last) - offset, 1)
        found = _history(lines, kept, start, offset)
        return Answer(200, json.dumps(found).encode(), "application/json")
    if place == "/logs/stream":
        start = _number(query, "start_from", lines.last)
        return Answer(200, events(lines.since(start)), "text/event-stream", follows=True)
    return Answer(404, b"not served here\n")


def _history(lines: Lines, kept: ConsoleLog, start: int, most: int) -> list[str]:
    older = min(most, lines.first - start)
    if older <= 0:
        return lines.since(start, most)
    return kept.since(start, older) + lines.since(start + older, most - older)


def events(lines: list[str]) -> bytes:
    """As server-sent events (HTML standard, "Server-sent events")."""
    return "".join(f"data:{line}\n\n" for line in lines).encode()


def _number(query: dict[str, list[str]], name: str, otherwise: int) -> int:
    text = query.get(name, [""])[0]
    return int(text) if text.isdecimal() and len(text) < 20 else otherwise


class Console:
    """`nitro-cli console` of the enclaves of one job, read for ever, and who asks. For the loop's
    thread."""

    def __init__(
        self, loop: Loop, wires: Wires, clock: Callable[[], float], watched: Watched
    ) -> None:
        self._loop, self._wires, self._clock = loop, wires, clock
        self._enclave = watched.enclave
        self._log = ConsoleLog(Path(watched.folder))
        self._lines = Lines(before=self._log.tail(KEPT_BYTES))
        self._server = Server(
            loop, clock, lambda path: respond(path, self._lines, self._log), most=MOST_READERS
        )
        self._tool: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0
        self._hindered: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, in words that stay the same while it is."""
        return self._hindered or self._log.problem

    def follow(self, enclave: str) -> None:
        """Read another enclave's, "" for none; who reads along stays."""
        if enclave != self._enclave:
            self._end_tool()
            self._enclave, self._again_at = enclave, 0.0

    def tick(self, now: float) -> None:
        """Listen and read, where that is not so."""
        if not self._server.listens:
            self._open()
        if self._enclave and self._tool is None and now >= self._again_at:
            self._again_at = now + AGAIN_SECONDS
            self._read()
        self._server.tick(now)

    def _open(self) -> None:
        try:
            addresses = self._wires.listening_addresses()
            self._server.open([self._wires.listen_tcp(one, PORT) for one in addresses])
            self._hindered = None
        except OSError as error:
            self._hindered = f"cannot serve the console on TCP {PORT}: {error.strerror}"

    def _read(self) -> None:
        try:
            self._tool = subprocess.Popen(
                ["nitro-cli", "console", "--enclave-id", self._enclave],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self._hindered = f"cannot read the console: {error}"
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
        self._tell(self._lines.add(data))

    def _tell(self, lines: list[Line]) -> None:
        self._log.add(lines, self._clock())
        self._server.publish(events([text for _, text in lines]))

    def _end_tool(self) -> None:
        if self._tool is None or self._tool.stdout is None:
            return
        self._loop.watch(self._tool.stdout.fileno(), READ, 0, self._take)
        self._tool.stdout.close()
        self._tool.kill()
        self._tool.wait()
        self._tool = None
        self._tell(self._lines.end())

    def close(self) -> None:
        """Not served any more; what is on disk stays (`console_log.forget`)."""
        self._end_tool()
        self._server.close()
        self._log.close()
