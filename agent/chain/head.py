"""The head of the chain: polled, woken early by a WebSocket subscription, with what is final.

A subscription only wakes the poll; what is said comes from the endpoints. One that says nothing
for `silent_seconds` is dropped, and polling goes on at its usual pace until another subscribes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from agent.chain.proxies import proxy_to
from agent.chain.rpc import Json, NodeRefused, Reader, Request, Rpc, integer
from agent.clock import passed
from agent.market.model import BlockNumber, BlockRef
from agent.ports import Clock
from agent.secret import SecretUrl
from enclave.shown import USER_AGENT
from faults import RetryLater, TryElsewhere, UsageFault

log = structlog.get_logger()

T = TypeVar("T")

MAX_BACKOFF_SECONDS = 60.0
LEAST_SECONDS = 0.1  # between two polls: a subscription that says thousands a second wakes no more
MAX_MESSAGE_BYTES = 64 * 2**10  # a header is about 2 KiB; nothing is unpacked, so this is all
# Of a block's time against this machine's clock. Nodes take no block of the future (geth: 15 s of
# it, rollups' sequencers more), and a clock that NTP keeps is off by less than a second.
AHEAD_SECONDS = 60.0
OLD_SECONDS = 20.0  # beyond a slot of 12 s: the chain stands, or the node hides the rest of it
LEAP_BLOCKS = 1_000  # more at once is no chain's growth since the last poll ...
MOST_RATE = 200.0  # ... unless so many a second can have come
MOST_NODES = 16
MOST_BLOCKS = 2**48  # at one a millisecond: 8,900 years
MOST_SECONDS = 2**40  # the year 36812; what is read as a time is computed with as a float
FORGET_SECONDS = 120.0  # what is final stays so long though no node tells it any more: then it was
# one node's story; failover to a node that lags takes less
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
    """The newest block of the moment, and the newest that is final. The second does not go back
    for a node that lags; what no node tells any more is forgotten after a while."""

    block: BlockRef
    finalized: BlockRef


def block_ref(answer: Json, asked: int | None = None) -> BlockRef:
    """A block as nodes answer it. Raises NodeRefused when it is null, no block that can be, or not
    the one of the number that was `asked` for."""
    try:
        number, timestamp = integer(answer["number"]), integer(answer["timestamp"])
        found = BlockRef(BlockNumber(number), answer["hash"].lower(), timestamp)
    except (TypeError, KeyError, AttributeError, NodeRefused):
        raise NodeRefused("a node answers no block where there should be one") from None
    if number >= MOST_BLOCKS:
        raise NodeRefused(f"a node answers a block that can't be: number {number:.3g}")
    if timestamp >= MOST_SECONDS:
        told = f"of the time {timestamp:.6g}, which is none in seconds (milliseconds?)"
        raise NodeRefused(f"a node answers a block that can't be: {told}")
    if asked is not None and number != asked:
        raise NodeRefused(f"a node answers block {number:.6g} where {asked} was asked for")
    return found


def block_request(block: int | str) -> Request:
    tag = hex(block) if isinstance(block, int) else block
    return Request("eth_getBlockByNumber", (tag, False))


def untimely(block: BlockRef, now: float, old: float = OLD_SECONDS) -> str:
    """Why this block's time is one node's story until a second tells it; empty: it is not."""
    ahead = block.timestamp - now
    if ahead > AHEAD_SECONDS:
        return f"block {block} is {ahead:.0f} s ahead of this machine's clock"
    return f"block {block}, the newest, is {-ahead:.0f} s old" if -ahead > old else ""


class Heads(Reader, Protocol):
    """All endpoints, as the tracker needs them."""

    def now(self) -> float: ...

    async def preferred(
        self, read: Callable[[Rpc], Awaitable[T]], doubt: Callable[[T, float], str]
    ) -> T: ...

    async def voices(self, read: Callable[[Rpc], Awaitable[T]], wanted: int = 2) -> list[T]: ...


class HeadTracker:
    """Polls head and finality; one or two requests in one exchange or two, at one endpoint.

    A head that is old or of the future, or whose time went back, is asked of the others, too, and
    the first that has a better one is believed. Which of them all has it right is not decided
    here: what can't be undone is asked of two (`agent.decide.who_must_agree`).
    """

    def __init__(self, reader: Heads, finality: Finality) -> None:
        self._reader = reader
        self._finality = finality
        self._last: Head | None = None
        self._polled_at = 0.0
        self._told: tuple[SecretUrl, Head] | None = None  # by which node, as it said it
        self._told_at = 0.0  # when a node last told what is held to be final
        self._untold = False  # no node tells it now

    @property
    def last(self) -> Head | None:
        """What the last poll that was answered found; None before the first."""
        return self._last

    async def poll(self) -> Head:
        """Raises RetryLater or TryElsewhere when no endpoint tells."""
        head = await self._first() if self._last is None else await self._next()
        self._polled_at = self._reader.now()
        self._last = Head(head.block, self._final(head.finalized))
        return self._last

    async def _next(self) -> Head:
        """Where no node tells what is final any more (one that was restarted knows it minutes
        later), the head goes on: jobs are seen and started, and what wants finality waits."""
        try:
            head = await self._reader.preferred(self._read, self._doubt)
        except NodeRefused as untold:  # of silence there is nothing to be made
            if self._last is None or self._finality.depth is not None:
                raise
            head = await self._reader.preferred(self._read_newest, self._doubt)
            self._note_untold(str(untold))
            return head
        self._note_untold("")
        return head

    def _note_untold(self, why: str) -> None:
        """Said once each time that it begins."""
        if why and not self._untold:
            log.warning("chain.no_final_block", error=why)
        self._untold = bool(why)

    async def _first(self) -> Head:
        """With nothing to measure it by, all are asked: of heights that no two nodes of one chain
        have at the same time, the higher one is a claim."""
        told = await self._reader.voices(self._read, MOST_NODES)
        timely = [head for head in told if not untimely(head.block, self._reader.now())] or told
        if not timely:
            return await self._next()  # raises why
        lowest = min(timely, key=lambda head: head.block.number)
        near = timely[0].block.number - lowest.block.number <= LEAP_BLOCKS
        return timely[0] if near else lowest

    def _final(self, told: BlockRef) -> BlockRef:
        now, kept = self._reader.now(), self._last.finalized if self._last else told
        if told.number >= kept.number or passed(now, self._told_at, FORGET_SECONDS):
            self._told_at = now
            return told
        return kept

    def _doubt(self, head: Head, now: float) -> str:
        last, block = self._last, head.block
        if last is not None and block.number > last.block.number:
            back = last.block.timestamp - block.timestamp
            if back > 0 and not untimely(last.block, now, old=float("inf")):
                return f"block {block} is {back} s older than one before it"
            most = LEAP_BLOCKS + int(MOST_RATE * max(0.0, now - self._polled_at))
            if block.number - last.block.number > most:
                return f"block {block} is {block.number - last.block.number} above the last one"
        return untimely(block, now)

    async def _read(self, node: Rpc) -> Head:
        depth = self._finality.depth
        tags = [block_request("latest")] + [block_request("finalized")] * (depth is None)
        block, *told = map(block_ref, await node.batch(tags))
        final = await self._at_depth(node, block, depth) if depth is not None else told[0]
        if final.number > block.number or final.timestamp > block.timestamp:
            raise NodeRefused(f"{node.url} says that block {final} is final, beyond its newest")
        self._told = (node.url, Head(block, final))
        return self._told[1]

    async def _read_newest(self, node: Rpc) -> Head:
        """With what was final before. Raises NodeRefused: it is behind even that."""
        assert self._last is not None
        block, final = block_ref((await node.batch([block_request("latest")]))[0]), self._last
        if final.finalized.number > block.number:
            raise NodeRefused(f"{node.url} is behind the final block {final.finalized}")
        return Head(block, final.finalized)

    async def _at_depth(self, node: Rpc, block: BlockRef, depth: int) -> BlockRef:
        if depth == 0:
            return block
        if self._told is not None and (node.url, block) == (self._told[0], self._told[1].block):
            return self._told[1].finalized
        number = max(0, block.number - depth)
        return block_ref((await node.batch([block_request(number)]))[0], number)


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
        # By name: the library goes by more variables, and wants packages for some of them.
        found = {url: proxy_to(url.reveal()) for url in self._urls}
        self._proxies = {url: proxy.url if proxy else None for url, proxy in found.items()}
        self._wake = asyncio.Event()
        self.live: SecretUrl | None = None  # the subscription that wakes us now

    async def heads(self) -> AsyncGenerator[Head, None]:
        listener = asyncio.create_task(self._listen()) if self._urls else None
        last: Head | None = None
        failures = 0
        try:
            while True:
                self._wake.clear()
                begun = self._clock.now()
                head = await self._poll(failures)
                failures = failures + 1 if head is None else 0
                if head is not None and head != last:
                    last = head
                    yield head
                await self._pause(failures)
                await self._rest(begun)
        finally:
            if listener is not None:
                listener.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listener

    async def _poll(self, failures: int) -> Head | None:
        try:
            return await self._tracker.poll()
        except (RetryLater, TryElsewhere) as fault:
            # The first may be a backend that lags: the next look finds another.
            say = log.warning if failures else log.info
            say("chain.no_head", error=str(fault))
            return None

    async def _rest(self, begun: float) -> None:
        """Until a poll may follow on one that begun then."""
        least = min(LEAST_SECONDS, self._pace.poll)
        since = self._clock.now() - begun
        if 0 <= since < least:
            await self._clock.sleep(least - since)

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
            try:
                heard = await self._subscribe(url)
            finally:
                self.live = None
                self._wake.set()  # polling takes over at once
            failures = 1 if heard else failures + 1
            await self._clock.sleep(min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10)))

    async def _subscribe(self, url: SecretUrl) -> bool:
        """Listen until the subscription breaks or falls silent. Whether it ever said anything."""
        try:
            async with connect(
                url.reveal(), logger=_SILENT, max_size=MAX_MESSAGE_BYTES, max_queue=4,
                compression=None, user_agent_header=USER_AGENT, proxy=self._proxies[url],
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
