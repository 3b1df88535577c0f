"""A headless Chromium, driven over its own protocol: pages are opened, asked and pictured.

https://chromedevtools.github.io/devtools-protocol/ names the methods. Nothing of it leaves the
machine: no update, no sync, and every host name but the loopback's resolves to nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE_SECONDS = 30.0
_MOST_BYTES = 64 << 20
NAVIGATED = "Inspected target navigated"  # in its words


class PageFault(Exception):
    """The browser refused, or a script threw."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A window: CSS pixels, and how it likes things."""

    width: int
    height: int
    dark: bool = False
    mobile: bool = False


@dataclass(slots=True)
class Tab:
    """One page. `said` keeps what the browser told without being asked: errors and requests."""

    _socket: ClientConnection
    said: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def listen(self) -> None:
        """Until the browser ends."""
        async for text in self._socket:
            message = json.loads(text)
            waiting = self._waiting.pop(message.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            elif "method" in message:
                self.said.append(message)

    async def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Raises PageFault."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": values}))
        message = await asyncio.wait_for(self._waiting[number], PATIENCE_SECONDS)
        if "error" in message:
            raise PageFault(f"{method}: {message['error'].get('message')}")
        result: dict[str, Any] = message["result"]
        return result

    async def on(self, screen: Screen) -> None:
        """As if the page were shown on this one."""
        size = {"width": screen.width, "height": screen.height, "deviceScaleFactor": 1}
        await self.call("Emulation.setDeviceMetricsOverride", mobile=screen.mobile, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if screen.dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def open(self, url: str, ready: str) -> None:
        """Returns when the expression `ready` is true there."""
        self.said.clear()
        await self.call("Page.navigate", url=url)
        await self.until(ready)

    async def until(self, expression: str) -> None:
        """Wait for it to be true. Raises TimeoutError, with what the page shows instead."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await self._is_true(expression):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self.ask("document.body.innerText")
            raise TimeoutError(f"{expression} stays false: {shown!r:.2000}") from None

    async def _is_true(self, expression: str) -> bool:
        """A page that is on its way to another one has no answer yet."""
        try:
            asked = f"(() => {{ try {{ return {expression} }} catch {{}} }})() ? 1 : 0"
            return bool(await self.ask(asked))
        except PageFault as gone:
            if NAVIGATED in str(gone):
                return False
            raise

    async def ask(self, expression: str) -> Any:
        """What a script gives; promises are waited for. Raises PageFault."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            told = found["exceptionDetails"]
            raise PageFault(str(told.get("exception", told).get("description", told)))
        return found["result"].get("value")

    async def picture(self, scale: float = 1.0) -> bytes:
        """The whole page as a PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": scale}
        found = await self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    async def counters(self) -> dict[str, float]:
        """Chromium's performance counters: seconds of the main thread, and sizes."""
        found = await self.call("Performance.getMetrics")
        return {each["name"]: each["value"] for each in found["metrics"]}

    def errors(self) -> list[str]:
        """What the page's scripts, and its policy, complained of."""
        told = []
        for one in self.said:
            if one["method"] == "Runtime.exceptionThrown":
                told.append(str(one["params"]["exceptionDetails"]))
            if one["method"] == "Log.entryAdded" and one["params"]["entry"]["level"] == "error":
                told.append(str(one["params"]["entry"]["text"]))
        return told


@contextlib.asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """One page of a new Chromium, whose profile is in `folder`; it ends with the block."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *FLAGS, f"--user-data-dir={folder}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    reading = asyncio.create_task(_drain(process.stderr, port := _Port()))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await port.known.wait()
        async with connect(await _page(port.number), max_size=_MOST_BYTES, proxy=None) as socket:
            tab = Tab(socket)
            listening = asyncio.create_task(tab.listen())
            for domain in ("Page", "Runtime", "Log", "Performance", "Network"):
                await tab.call(f"{domain}.enable")
            yield tab
            listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        reading.cancel()


@dataclass(slots=True)
class _Port:
    number: int = 0
    known: asyncio.Event = field(default_factory=asyncio.Event)


async def _drain(stream: asyncio.StreamReader, port: _Port) -> None:
    """Its port is on one of the first lines; nobody needs the others."""
    async for line in stream:
        text = line.decode(errors="replace")
        if text.startswith("DevTools listening on ws://"):
            port.number = int(text.split("//")[1].split("/")[0].rpartition(":")[2])
            port.known.set()


async def _page(port: int) -> str:
    """The address of the one tab's socket."""
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        tabs = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG, from its first chunk (RFC 2083, 4.1.1)."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def colours_of(png: bytes) -> set[bytes]:
    """The different pixels of an 8-bit RGB or RGBA PNG that is not interlaced: small ones only."""
    width, height = size_of(png)
    each = {2: 3, 6: 4}[png[25]]
    rows = zlib.decompress(b"".join(_data(png)))
    before, stride, found = bytes(width * each), 1 + width * each, set[bytes]()
    for at in range(height):
        row = rows[at * stride : (at + 1) * stride]
        before = _unfiltered(row[0], row[1:], before, each)
        found.update(before[x : x + each] for x in range(0, len(before), each))
    return found


def _data(png: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            yield png[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(kind: int, row: bytes, above: bytes, each: int) -> bytes:
    """RFC 2083, 6: what was taken off each byte is put back on."""
    found = bytearray(row)
    for at in range(len(found)):
        left = found[at - each] if at >= each else 0
        corner = above[at - each] if at >= each else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))
        found[at] = (found[at] + guess[kind]) & 255
    return bytes(found)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
