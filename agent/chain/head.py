"""The head of the chain: polled, woken early by a WebSocket subscription, with what is final.

A subscription only wakes the poll; what is said comes from the endpoints. One that says nothing
for `silent_seconds` is dropped, and polling goes on at its usual pace until another subscribes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from agent.chain.rpc import Json, NodeRefused, Reader, Request
from agent.market.model import BlockNumber, BlockRef
from agent.ports import Clock
from agent.secret import SecretUrl
from enclave.shown import USER_AGENT
from faults import RetryLater, TryElsewhere, UsageFault

log = structlog.get_logger()

MAX_BACKOFF_SECONDS = 60.0
MAX_MESSAGE_BYTES = 64 * 2**10  # a header is about 2 KiB; nothing is unpacked, so this is all
# websockets logs the request line, and with it the key in the path, at DEBUG: nobody listens.
_SILENT = logging.getLogger("agent.chain.head.websocket")
_SILENT.disabled = True


@dataclass(frozen=True, slots=True)
class Finality:
    """What counts as final: so many blocks below the head, or the node's own `finalized` tag."""

    depth: int | None = None  # blocks; None takes the tag

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise UsageFault(f"a finality depth of {self.depth} blocks makes no sense")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of the moment, and the newest that is final. The second never goes back."""

    block: BlockRef
    finalized: BlockRef


def block_ref(answer: Json) -> BlockRef:
    """A block as nodes answer it. Raises NodeRefused when it is null or not a block."""
    try:
        return BlockRef(
            BlockNumber(int(answer["number"], 16)),
            str(answer["hash"]).lower(),
            int(answer["timestamp"], 16),
        )
    except (TypeError, KeyError, ValueError):
        raise NodeRefused("a node answers no block where there should be one") from None


def block_request(block: int | str) -> Request:
    tag = hex(block) if isinstance(block, int) else block
    return Request("eth_getBlockByNumber", (tag, False))


class HeadTracker:
    """Polls head and finality; one or two requests in one exchange or two."""

    def __init__(self, reader: Reader, finality: Finality) -> None:
        self._reader = reader
        self._finality = finality
        self._last: Head | None = None

    @property
    def last(self) -> Head | None:
        """What the last poll that was answered found; None before the first."""
        return self._last

    async def poll(self) -> Head:
        """Raises RetryLater or TryElsewhere when no endpoint tells."""
        depth = self._finality.depth
        if depth is None:
            tags = [block_request("latest"), block_request("finalized")]
            block, final = map(block_ref, await self._reader.batch(tags))
        else:
            block = block_ref((await self._reader.batch([block_request("latest")]))[0])
            final = await self._at_depth(block, depth)
        if self._last is not None and final.number < self._last.finalized.number:
            final = self._last.finalized
        self._last = Head(block, final)
        return self._last

    async def _at_depth(self, block: BlockRef, depth: int) -> BlockRef:
        if depth == 0:
            return block
        if self._last is not None and block == self._last.block:
            return self._last.finalized
        number = max(0, block.number - depth)
        return block_ref((await self._reader.batch([block_request(number)]))[0])


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `silent` should be a few block times; `poll` far below a bootstrapping budget."""

    poll: float = 2.0
    silent: float = 40.0


class HeadFollower:
    """`async for head in follower.heads()`: each new head, for ever, whatever the nodes do."""

    def __init__(
        self, tracker: HeadTracker, clock: Clock, pace: Pace, websockets: Sequence[str] = ()
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._pace = pace
        self._urls = [SecretUrl(url, ("ws", "wss")) for url in websockets]
        self._wake = asyncio.Event()
        self.live: SecretUrl | None = None  # the subscription that wakes us now

    async def heads(self) -> AsyncGenerator[Head, None]:
        listener = asyncio.create_task(self._listen()) if self._urls else None
        last: Head | None = None
        failures = 0
        try:
            while True:
                self._wake.clear()
                head = await self._poll()
                failures = failures + 1 if head is None else 0
                if head is not None and head != last:
                    last = head
                    yield head
                await self._pause(failures)
        finally:
            if listener is not None:
                listener.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listener

    async def _poll(self) -> Head | None:
        try:
            return await self._tracker.poll()
        except (RetryLater, TryElsewhere) as fault:
            log.warning("chain.no_head", error=str(fault))
            return None

    async def _pause(self, failures: int) -> None:
        """Until woken, or the next poll is due: later while subscribed, or after failures."""
        seconds = self._pace.silent if self.live else self._pace.poll
        if failures:
            seconds = min(MAX_BACKOFF_SECONDS, self._pace.poll * 2.0 ** min(failures - 1, 10))
        due = asyncio.create_task(self._clock.sleep(seconds))
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({due, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
            woken.cancel()

    async def _listen(self) -> None:
        failures = 0
        while True:
            url = self._urls[failures % len(self._urls)]
            heard = await self._subscribe(url)
            self.live = None
            self._wake.set()  # polling takes over at once
            failures = 1 if heard else failures + 1
            await self._clock.sleep(min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10)))

    async def _subscribe(self, url: SecretUrl) -> bool:
        """Listen until the subscription breaks or falls silent. Whether it ever said anything."""
        try:
            async with connect(
                url.reveal(), logger=_SILENT, max_size=MAX_MESSAGE_BYTES, max_queue=4,
                compression=None, user_agent_header=USER_AGENT,
            ) as socket:  # fmt: skip
                ask = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
                await socket.send(json.dumps(ask))
                while True:
                    async with asyncio.timeout(self._pace.silent):
                        message = await socket.recv()
                    self._heard(url, message)
        except TimeoutError:
            log.warning("chain.subscription_silent", endpoint=str(url), seconds=self._pace.silent)
        except (WebSocketException, InvalidHandshake, InvalidURI, OSError) as broken:
            log.warning("chain.subscription_lost", endpoint=str(url), error=type(broken).__name__)
        return self.live is not None

    def _heard(self, url: SecretUrl, message: str | bytes) -> None:
        """A notification wakes the poll; the reply to the subscription itself does not."""
        if b'"params"' in (message.encode() if isinstance(message, str) else message):
            self.live = url
            self._wake.set()
